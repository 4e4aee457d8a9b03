// Which leads the list holds: pages from the API, and the announced leads that match its filter.

import { api } from "./api.js";
import { choices } from "./changes.js";
import { Pages } from "./pages.js";

export class LeadList extends Pages {
	constructor(rows) {
		super(rows, async (parameters, signal) => {
			const { leads, next, searched } = await api.leads(parameters, signal);
			choices.learn(leads);
			return { items: leads, next, searched };
		});
		// Announced leads that are not in the list yet, and whether others were not announced.
		this.waiting = [];
		this.hasMissed = false;
	}

	get hasNews() {
		return this.hasMissed || this.waiting.length > 0;
	}

	load(filter) {
		const loading = super.load(filter);
		Object.assign(this, { waiting: [], hasMissed: false });
		this.rows.selectOnly([]);
		return loading;
	}

	/** Keep the announced leads that match the filter, and return whether there is anything new. */
	async announce({ leads, more }) {
		const { filter } = this;
		let hasMissed = more;
		let matching = [];
		try {
			matching = await matchingLeads(leads, filter);
		} catch {
			hasMissed = true;
		}
		// A load that began meanwhile has them in its page.
		if (this.filter !== filter) return false;
		this.waiting.unshift(...matching);
		this.hasMissed ||= hasMissed;
		return hasMissed || matching.length > 0;
	}

	showWaiting() {
		this.rows.prepend(this.waiting);
		this.waiting = [];
	}

	/** Reload the changed leads that are in the list or wait to be, and return how many of the list are erased. */
	async refresh(ids) {
		const held = new Set([...this.rows.items, ...this.waiting].map((lead) => lead.id));
		let erased = 0;
		for (const id of ids.filter((each) => held.has(each))) {
			const found = await api.lead(id).catch(() => null);
			if (found?.lead) this.update(found.lead);
			else if (found?.raw?.erased) erased += this.remove(id);
		}
		return erased;
	}

	update(lead) {
		this.rows.update(lead);
		this.waiting = this.waiting.map((each) => (each.id === lead.id ? { ...each, ...lead } : each));
	}

	remove(id) {
		const { length } = this.rows.items;
		this.waiting = this.waiting.filter((lead) => lead.id !== id);
		this.rows.remove(id);
		return length - this.rows.items.length;
	}
}

// Only the server decides what a filter means.
async function matchingLeads(leads, filter) {
	choices.learn(leads);
	// The list leaves test leads out unless its filter asks for them, which ids do not.
	const shown = filter.some(([name]) => name === "tests") ? leads : leads.filter(({ isTest }) => !isTest);
	if (!(shown.length && filter.length)) return shown;
	const ids = shown.map((lead) => ["id", lead.id]);
	const matching = (await api.leads([...filter, ...ids, ["limit", shown.length]])).leads;
	const storedAt = new Map(shown.map((lead) => [lead.id, lead.storedAt]));
	return matching.map((lead) => ({ ...lead, storedAt: storedAt.get(lead.id) }));
}
