// Views of the leads by one click, each with its number of leads.

import { api, session } from "./api.js";
import { h, notice, redraw } from "./dom.js";
import { dayOf, formatNumber } from "./format.js";
import { place } from "./place.js";
import { queryOf, saveButton, saved } from "./saved.js";

const COUNT_PAUSE_MS = 5000;
const LOOK_AGAIN_MS = 60000;

const DUE = [["due", "now"]];

/** The views, each with the filter that it stands for. */
export function viewsOf(actor, now) {
	const mine = actor ? [{ name: "Mine", filter: [["assignedTo", actor]] }] : [];
	return [
		{ name: "All", filter: [] },
		...mine,
		{ name: "Unassigned", filter: [["assignedTo", ""]] },
		{ name: "New today", filter: [["from", dayOf(now)]] },
		{ name: "Due", filter: DUE },
	];
}

export const countText = ({ leads, exact }) => `${exact ? "" : "about "}${formatNumber(leads)}`;

const filterOf = (query) => [...new URLSearchParams(query)].filter(([name]) => name !== "sort");

const badgeText = ({ leads, exact }) => `${exact ? "" : "≈"}${formatNumber(leads)}`;

export class ViewTabs {
	/** `onSaved` is called when a view was saved or forgotten. */
	constructor(onSaved) {
		this.onSaved = onSaved;
		this.element = h("div", { class: "tabs views", role: "group", "aria-label": "Views of leads" });
		this.counts = new Map();
		this.countedAt = 0;
		setInterval(() => this.countSoon(), LOOK_AGAIN_MS);
	}

	show() {
		const shown = queryOf(place.filter, place.sort);
		const builtIn = viewsOf(session.actor, new Date()).map(({ name, filter }) => ({ name, query: queryOf(filter) }));
		const own = saved.views.filter(({ query }) => !builtIn.some((view) => view.query === query));
		const tab = ({ name, query }) => {
			const count = this.counts.get(queryOf(filterOf(query)));
			const badge = count?.leads > 0 && h("span", { class: "badge", "data-view": name }, badgeText(count));
			const isCurrent = query === shown ? "page" : null;
			return h("a", { href: `?${query}`, "data-go": true, "aria-current": isCurrent }, name, badge);
		};
		const isBuiltIn = builtIn.some(({ query }) => query === shown);
		const save = saveButton(shown, isBuiltIn, () => {
			this.show();
			this.count();
			this.onSaved();
		});
		redraw(this.element, ...[...builtIn, ...own].map(tab), ...(save ? [save] : []));
	}

	/** Count again, now or, where that was done just before, a little later. */
	countSoon() {
		if (this.timer || !session.isOpen) return;
		const pause = Math.max(0, this.countedAt + COUNT_PAUSE_MS - Date.now());
		this.timer = setTimeout(() => {
			this.timer = null;
			this.count();
		}, pause);
	}

	async count() {
		this.countedAt = Date.now();
		const dueQuery = queryOf(DUE);
		const before = this.counts.get(dueQuery)?.leads;
		let tell;
		try {
			const filters = viewsOf(session.actor, new Date()).map(({ filter }) => filter);
			const own = saved.views.map(({ query }) => filterOf(query));
			const counted = [...filters, ...own.filter((filter) => !filter.some(([name]) => name === "q"))];
			const asked = Promise.all(counted.map((filter) => api.count(filter)));
			const [counts, attention] = await Promise.all([asked, import("./attention.js")]);
			tell = attention.tell;
			this.counts = new Map(counted.map((filter, index) => [queryOf(filter), counts[index]]));
		} catch {
			// The rows themselves tell that the server is away.
			return;
		}
		const { leads } = this.counts.get(dueQuery);
		if (before !== undefined && leads > before) notice(`${leads} calls are due`);
		const builtIn = viewsOf(session.actor, new Date());
		tell(
			Object.fromEntries(
				builtIn.map(({ name, filter }) => [name.toLowerCase(), this.counts.get(queryOf(filter))?.leads]),
			),
		);
		this.show();
	}
}
