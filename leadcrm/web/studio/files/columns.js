// The columns of the leads: all that there are, and those that the person has chosen, in their order.

import { emailLinks, phoneLinks } from "./contact.js";
import { button, h, time } from "./dom.js";
import { longTime, shortTime } from "./format.js";
import { NEWEST_FIRST } from "./place.js";
import { saved } from "./saved.js";

const KEPT = "leadcrm.columns";
const LATE_MS = 60_000;

const text = (label, field) => ({ label, cell: (lead) => lead[field] });

/** Each with what its cell shows of a lead; `sort` names the order that a click on its head asks for. */
export const COLUMNS = {
	time: { label: "Arrived", sort: "arrived", cell: arrival },
	status: { label: "Status", sort: "status", isAscending: true, cell: (lead, view) => view.editable(lead, "status") },
	name: {
		label: "Name",
		cell: (lead, view) => [
			view.link(lead),
			othersMark(view.others.get(lead.id)),
			lead.isTest && testMark(),
			lead.callAt && callMark(lead.callAt),
		],
	},
	phone: { label: "Phone", cell: (lead) => phoneLinks(lead.phone) },
	email: { label: "Email", cell: (lead) => emailLinks(lead.email) },
	country: text("Country", "country"),
	offer: text("Offer", "offer"),
	marker: text("Marker", "marker"),
	source: text("Source", "source"),
	assigned: { label: "Assigned to", cell: (lead, view) => view.editable(lead, "assignedTo") },
	call: { label: "Next call", sort: "callAt", isAscending: true, cell: (lead) => lead.callAt && time(lead.callAt) },
	updated: { label: "Changed", sort: "updated", cell: (lead) => time(lead.updatedAt) },
	creo: text("Creative", "creo"),
	click: text("Click id", "click_id"),
	description: text("Description", "description"),
	domain: text("Domain", "domain"),
	lang: text("Language", "lang"),
	ip: text("IP address", "ip"),
	kind: text("Source type", "sourcetype"),
	id: text("Id", "id"),
};

const FIRST = ["time", "status", "name", "phone", "email", "country", "offer", "marker", "source", "assigned"];

/** A width that a column may have, in pixels. */
export const clampWidth = (width) => Math.round(Math.min(1200, Math.max(48, width)));

/** The columns and their widths as this browser keeps them, apart for each saved view. */
export const arrangement = {
	get kept() {
		try {
			const kept = saved.shown?.arrangement ?? JSON.parse(localStorage.getItem(KEPT)) ?? {};
			const isKnown = (name) => Object.hasOwn(COLUMNS, name);
			const columns = (kept.columns ?? []).filter(isKnown);
			const widths = Object.entries(kept.widths ?? {}).filter(([name, width]) => isKnown(name) && width > 0);
			return {
				columns: columns.length ? [...new Set(columns)] : null,
				widths: Object.fromEntries(widths.map(([name, width]) => [name, clampWidth(width)])),
				isCompact: kept.isCompact === true,
			};
		} catch {
			return { columns: null, widths: {}, isCompact: false };
		}
	},
	get columns() {
		return this.kept.columns ?? FIRST;
	},
	get widths() {
		return this.kept.widths;
	},
	/** Whether the person has chosen: then nothing is left out where it is narrow. */
	get isOwn() {
		return this.kept.columns !== null;
	},
	get isCompact() {
		return this.kept.isCompact;
	},
	keep(changes) {
		const kept = { ...this.kept, ...changes };
		if (saved.shown) saved.arrange(kept);
		else localStorage.setItem(KEPT, JSON.stringify(kept));
	},
};

/** The order that a click on a column's head asks for: its own, and the other way round the next time. */
export function nextSort(current, { sort, isAscending }) {
	const [first, second] = isAscending ? [sort, `-${sort}`] : [`-${sort}`, sort];
	return current === first ? second : first;
}

/** The head of a column: its name, as a button where it sorts. */
export function columnHead(name, { current, isSortable, onSort }) {
	const column = COLUMNS[name];
	if (!column.sort) return { content: column.label };
	const isCurrent = current.replace("-", "") === column.sort;
	const isDescending = current.startsWith("-");
	const arrow = isCurrent && h("span", { "aria-hidden": "true" }, isDescending ? " ↓" : " ↑");
	const properties = {
		class: "sort",
		disabled: !isSortable,
		title: isSortable ? `Sort by ${column.label.toLowerCase()}` : "What a search finds comes the newest first",
	};
	const next = nextSort(current, column);
	const content = button([column.label, arrow || null], () => onSort(next === NEWEST_FIRST ? null : next), properties);
	const sorted = isDescending ? "descending" : "ascending";
	return { content, sorted: isCurrent ? sorted : "none" };
}

// A lead that waited for the database arrived long before it could be seen.
function arrival({ createdAt, storedAt }) {
	const isLate = new Date(storedAt ?? createdAt) - new Date(createdAt) > LATE_MS;
	return isLate ? [time(createdAt), h("small", {}, " delivered ", time(storedAt))] : time(createdAt);
}

const testMark = () => h("span", { class: "badge", title: "The sender says that it is a test" }, "test");

function othersMark(count) {
	if (!count) return null;
	const title = `${count} other lead${count === 1 ? "" : "s"} of this person`;
	return h("span", { class: "badge others-mark", title, "aria-label": title, role: "note" }, `+${count}`);
}

function callMark(callAt) {
	const isDue = new Date(callAt) <= new Date();
	return h("span", { class: "badge", title: `Next call: ${longTime(callAt)}` }, isDue ? "call now" : shortTime(callAt));
}
