// The audit trail: who read, exported, changed, replayed or erased what, and who gave whom a token.

import { api } from "./api.js";
import { button, h, notice, time } from "./dom.js";
import { place } from "./place.js";
import { PlainTable } from "./plain_table.js";

const PAGE_ROWS = 100;

const ACTIONS = {
	read: "read a lead",
	list: "listed leads",
	"read-raw": "read a request",
	"list-raw": "listed requests",
	feed: "read the feed",
	export: "exported leads",
	change: "changed a lead",
	note: "noted something",
	replay: "replayed a request",
	correct: "corrected a request",
	person: "printed all of a person",
	erase: "erased a request",
	prune: "pruned requests",
	retry: "retried deliveries",
	drop: "dropped deliveries",
	"sign-in": "stayed signed in",
	"sign-out": "signed out",
	"token-add": "gave a token",
	"token-revoke": "took a token back",
	audit: "read the audit trail",
};

export class Trail {
	constructor(openLead) {
		Object.assign(this, { openLead, next: null, asked: 0 });
		this.actor = h("input", { name: "actor", autocomplete: "off", onchange: () => this.narrow() });
		const options = Object.entries({ "": "everything", ...ACTIONS });
		const option = ([value, label]) => h("option", { value }, label);
		this.action = h("select", { name: "action", onchange: () => this.narrow() }, options.map(option));
		this.from = h("input", { name: "from", type: "date", onchange: () => this.narrow() });
		this.more = button("Show more", () => this.load(), { hidden: true });
		this.table = new PlainTable("Audit trail, newest first", ["When", "Who", "Did what", "To what", "How"]);
		this.parts = [
			h(
				"form",
				{ class: "card", "aria-label": "Narrow the trail", onsubmit: (event) => event.preventDefault() },
				h("label", {}, "Who", this.actor),
				h("label", {}, "Did what", this.action),
				h("label", {}, "Since (UTC)", this.from),
			),
			h("section", { class: "card scroll", "aria-label": "Entries" }, this.table.element, this.more),
		];
	}

	show(container) {
		container.replaceChildren(...this.parts);
		const { parameters } = place;
		for (const name of ["actor", "action"]) this[name].value = parameters.get(name) ?? "";
		this.from.value = parameters.get("since") ?? "";
		this.next = null;
		this.load({ isFirst: true });
	}

	narrow() {
		place.go({ actor: this.actor.value || null, action: this.action.value || null, since: this.from.value || null });
	}

	async load({ isFirst = false } = {}) {
		this.asked += 1;
		const { asked } = this;
		const filter = { actor: this.actor.value, action: this.action.value, from: this.from.value, cursor: this.next };
		const given = Object.entries(filter).filter(([, value]) => value);
		try {
			const { entries, next } = await api.trail([...given, ["limit", PAGE_ROWS]]);
			if (asked !== this.asked) return;
			const rows = entries.map((entry) => this.row(entry));
			if (isFirst) this.table.show(rows, "Nothing is recorded that is like that.");
			else this.table.add(rows);
			this.next = next;
			this.more.hidden = !next;
		} catch (error) {
			notice(error.message, "error");
		}
	}

	row({ at, actor, via, claimed, action, leadId, detail }) {
		const open = (event) => {
			event.preventDefault();
			this.openLead(leadId);
		};
		const link = leadId && h("a", { class: "mono", href: `?open=${leadId}`, onclick: open }, leadId);
		const how = via === "token" ? "" : via;
		const what = h("span", {}, link, link && detailText(detail) && " ", detailText(detail));
		const who = h("span", {}, h("strong", {}, actor), claimed && ` as “${claimed}”`);
		return { cells: [time(at), who, ACTIONS[action] ?? action, what, h("span", { class: "muted" }, how)] };
	}
}

/** What an entry tells besides, for people: `{"country": ["LV"]}` is `country LV`. */
export function detailText(detail) {
	const text = (value) => (Array.isArray(value) ? value.map((each) => each || "none").join(" or ") : String(value));
	return Object.entries(detail)
		.filter(([, value]) => value !== null && value !== false)
		.map(([name, value]) => `${name} ${text(value)}`)
		.join(", ");
}
