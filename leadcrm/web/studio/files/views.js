// Views of the leads by one click, each with its number of leads.

import { api, session } from "./api.js";
import { h, notice } from "./dom.js";
import { formatNumber } from "./format.js";

const COUNT_PAUSE_MS = 5000;
const LOOK_AGAIN_MS = 60000;

/** The views, each with the filter that it stands for. */
export function viewsOf(actor, now) {
	const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).toISOString();
	const mine = actor ? [{ name: "Mine", filter: [["assignedTo", actor]] }] : [];
	return [
		{ name: "All", filter: [] },
		...mine,
		{ name: "Unassigned", filter: [["assignedTo", ""]] },
		{ name: "New today", filter: [["from", midnight]] },
		{ name: "Due", filter: [["due", "now"]] },
	];
}

export const countText = ({ leads, exact }) => `${formatNumber(leads)}${exact ? "" : "+"}`;

export class ViewTabs {
	constructor() {
		this.element = h("div", { class: "tabs views", role: "group", "aria-label": "Views of leads" });
		this.counts = new Map();
		this.countedAt = 0;
		setInterval(() => this.countSoon(), LOOK_AGAIN_MS);
	}

	show(filter) {
		this.filter = filter;
		const shown = JSON.stringify(filter);
		const tab = ({ name, filter: own }) => {
			const href = `?${new URLSearchParams(own)}`;
			const count = this.counts.get(name);
			const badge = count?.leads > 0 && h("span", { class: "badge", "data-view": name }, countText(count));
			const isCurrent = JSON.stringify(own) === shown ? "page" : null;
			return h("a", { href, "data-go": true, "aria-current": isCurrent }, name, badge);
		};
		this.element.replaceChildren(...viewsOf(session.actor, new Date()).map(tab));
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
		const before = this.counts.get("Due")?.leads;
		try {
			const views = viewsOf(session.actor, new Date());
			const counts = await Promise.all(views.map(({ filter }) => api.count(filter)));
			this.counts = new Map(views.map(({ name }, index) => [name, counts[index]]));
		} catch {
			// The rows themselves tell that the server is away.
			return;
		}
		const { leads } = this.counts.get("Due");
		if (before !== undefined && leads > before) notice(`${leads} calls are due`);
		this.show(this.filter ?? []);
	}
}
