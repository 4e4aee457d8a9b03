// Where one lead went: what became of its events at each sink.

import { h, pill } from "./dom.js";
import { longTime } from "./format.js";

const KINDS = { delivered: "green", waiting: "amber", pending: "blue", dead: "red", dropped: "red" };

const EVENTS = {
	"lead.created": "",
	"lead.changed": " (change)",
	"lead.noted": " (note)",
	"lead.erased": " (erasing)",
};

/** What a person reads about one of the entries. */
export function deliveryText({ state, at, since, nextAt, attempts, answer, status }) {
	const said = [status, answer].filter(Boolean).join(" ");
	const answered = said ? `: ${said}` : "";
	switch (state) {
		case "delivered":
			return longTime(at);
		case "waiting":
			return `since ${longTime(since)}, next try ${longTime(nextAt)}${answered}`;
		case "dead":
			return `after ${attempts} attempts, the last ${longTime(at)}${answered}`;
		case "dropped":
			return `given up by a person ${longTime(at)}`;
		case "pending":
			return "the sink has not come to it yet";
		case "unwanted":
			return "its filter leaves this lead out";
		default:
			return "the sink began later, or no record was kept";
	}
}

/** The section of the drawer, or null where there is no sink. */
export function deliveriesSection(deliveries) {
	if (!deliveries?.length) return null;
	const entry = (one) =>
		h(
			"li",
			{},
			h("strong", {}, one.sink),
			`${EVENTS[one.type] ?? ` (${one.type})`} `,
			pill(one.state, KINDS[one.state]),
			h("div", { class: "muted" }, deliveryText(one)),
		);
	return h(
		"section",
		{ "aria-label": "Where it went" },
		h("h3", {}, "Where it went"),
		h("ul", { class: "history" }, deliveries.map(entry)),
	);
}
