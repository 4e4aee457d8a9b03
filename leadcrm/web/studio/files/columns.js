// The columns of the leads: all that there are, and those that the person has chosen, in their order.

import { emailLinks, phoneLinks } from "./contact.js";
import { button, h, time } from "./dom.js";
import { longTime, shortTime } from "./format.js";
import { NEWEST_FIRST } from "./place.js";

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

/** The columns as this browser keeps them. */
export const arrangement = {
	get kept() {
		try {
			const kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
			const columns = (kept.columns ?? []).filter((name) => Object.hasOwn(COLUMNS, name));
			return { columns: columns.length ? [...new Set(columns)] : null, isCompact: kept.isCompact === true };
		} catch {
			return { columns: null, isCompact: false };
		}
	},
	get columns() {
		return this.kept.columns ?? FIRST;
	},
	/** Whether the person has chosen: then nothing is left out where it is narrow. */
	get isOwn() {
		return this.kept.columns !== null;
	},
	get isCompact() {
		return this.kept.isCompact;
	},
	keep(changes) {
		localStorage.setItem(KEPT, JSON.stringify({ ...this.kept, ...changes }));
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

/** The menu in which columns are chosen and put in order. `onChange` is called after each change. */
export function columnMenu(onChange) {
	const opener = button("Columns", () => toggle(panel.hidden), { "aria-expanded": "false" });
	const panel = h("div", { class: "column-menu", hidden: true });
	const menu = h("div", { class: "menu", onkeydown: closeOnEscape }, opener, panel);

	function toggle(isOpen) {
		panel.hidden = !isOpen;
		opener.setAttribute("aria-expanded", String(isOpen));
		if (isOpen) draw();
	}

	function closeOnEscape(event) {
		if (event.key !== "Escape" || panel.hidden) return;
		event.stopPropagation();
		toggle(false);
		opener.focus();
	}

	function change(changes, focused) {
		arrangement.keep(changes);
		onChange();
		draw();
		panel.querySelector(`[data-control="${focused}"]`)?.focus();
	}

	function draw() {
		const { columns } = arrangement;
		const hidden = Object.keys(COLUMNS).filter((name) => !columns.includes(name));
		const compact = h("input", {
			type: "checkbox",
			checked: arrangement.isCompact,
			"data-control": "compact",
			onchange: (event) => change({ isCompact: event.target.checked }, "compact"),
		});
		panel.replaceChildren(
			h("ul", {}, [...columns, ...hidden].map(line)),
			h("label", {}, compact, " Compact rows"),
			button("As at first", () => change({ columns: null, isCompact: false }, "first"), { "data-control": "first" }),
		);
	}

	function line(name) {
		const { columns } = arrangement;
		const { label } = COLUMNS[name];
		const place = columns.indexOf(name);
		const check = h("input", {
			type: "checkbox",
			checked: place >= 0,
			disabled: place >= 0 && columns.length === 1,
			"data-control": name,
			onchange: () =>
				change({ columns: place < 0 ? [...columns, name] : columns.filter((each) => each !== name) }, name),
		});
		const step = (text, word, by) => {
			const target = place + by;
			const properties = {
				class: "quiet",
				"aria-label": `Move ${label} ${word}`,
				title: `Move ${word}`,
				disabled: place < 0 || target < 0 || target >= columns.length,
				"data-control": `${name}${by}`,
			};
			return button(text, () => change({ columns: swapped(columns, place, target) }, `${name}${by}`), properties);
		};
		return h("li", {}, h("label", {}, check, ` ${label}`), step("↑", "left", -1), step("↓", "right", 1));
	}

	document.addEventListener(
		"click",
		(event) => menu.contains(event.target) || !event.target.isConnected || toggle(false),
	);
	return menu;
}

function swapped(list, one, other) {
	const copy = [...list];
	[copy[one], copy[other]] = [copy[other], copy[one]];
	return copy;
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
