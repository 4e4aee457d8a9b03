// The overview: what arrived, by time, outcome and source.

import { api } from "./api.js";
import { chart } from "./chart.js";
import { button, h, notice } from "./dom.js";
import { formatNumber } from "./format.js";
import { LABELS, place } from "./place.js";

const HOUR_MS = 3600000;
const RELOAD_INTERVAL_MS = 5000;
const MAX_VALUES = 8;

const RANGES = {
	day: { label: "24 hours", days: 1, step: "hour" },
	week: { label: "7 days", days: 7, step: "hour" },
	month: { label: "30 days", days: 30, step: "day" },
};

// Outcomes, the text of each tile, and the state by which the inbox lists them.
const TILES = [
	["created", "leads", null],
	["repeats", "repeats", "repeat"],
	["conflicts", "conflicts", "conflict"],
	["invalid", "invalid", "invalid"],
	["failed", "failed", "failed"],
	["spooled", "in the spool now", "spooled"],
];

export class OverviewView {
	constructor() {
		this.ranges = h("div", { class: "tabs", role: "group", "aria-label": "Time" });
		this.content = h("div", { class: "overview" });
		this.parts = [
			h("h1", { class: "visually-hidden" }, "Overview"),
			h("div", { class: "toolbar" }, this.ranges),
			this.content,
		];
		this.loadedAt = 0;
	}

	get range() {
		const range = place.parameters.get("range");
		return RANGES[range] ? range : "day";
	}

	show(container) {
		container.replaceChildren(...this.parts);
		const tabs = Object.entries(RANGES).map(([range, { label }]) => {
			const isPressed = String(range === this.range);
			return button(label, () => place.go({ range }), { "aria-pressed": isPressed });
		});
		this.ranges.replaceChildren(...tabs);
		this.reload();
	}

	async reload() {
		const { days, step } = RANGES[this.range];
		const from = rangeStart(Date.now(), days, step);
		this.loadedAt = Date.now();
		try {
			this.draw(await api.statistics({ from, step }), from);
		} catch (error) {
			notice(error.message, "error");
		}
	}

	arrived() {
		if (Date.now() - this.loadedAt > RELOAD_INTERVAL_MS) this.reload();
	}

	draw(statistics, from) {
		const { outcomes, by } = statistics;
		const breakdowns = Object.entries(by).map(([name, values]) => breakdown(name, values, outcomes.created, from));
		this.content.replaceChildren(
			h(
				"div",
				{ class: "tiles" },
				TILES.map(([outcome, text, state]) => tile(outcomes[outcome], text, state)),
			),
			chart(statistics),
			h("div", { class: "breakdowns" }, breakdowns),
		);
	}

	step() {}

	key() {
		return false;
	}
}

/** The start of a range, on a whole hour or day, so that the server can answer the same question from its cache. */
export function rangeStart(now, days, step) {
	const span = step === "hour" ? HOUR_MS : 24 * HOUR_MS;
	return new Date(Math.floor(now / span + 1) * span - days * 24 * HOUR_MS).toISOString();
}

function tile(count, text, state) {
	const href = state ? `?view=inbox&state=${state}` : "?";
	return h("a", { class: "card tile", href, "data-go": true }, h("b", {}, formatNumber(count)), h("span", {}, text));
}

function breakdown(name, values, total, from) {
	const label = LABELS[name];
	const shares = mergeEmpty(values)
		.slice(0, MAX_VALUES)
		.map(({ value, leads }) => share({ name, value, leads, total, from }));
	const content = shares.length ? shares : h("p", { class: "muted" }, "Nothing yet.");
	return h("section", { class: "card chart", "aria-label": label }, h("h2", {}, label), content);
}

function share({ name, value, leads, total, from }) {
	const text = value || "none";
	const href = `?${new URLSearchParams({ [name]: value, from })}`;
	const meter = { min: 0, max: Math.max(1, total), value: leads, "aria-label": `${text}: ${leads} of ${total}` };
	return h(
		"div",
		{ class: "share" },
		h("a", { href, "data-go": true }, text),
		h("span", {}, formatNumber(leads)),
		h("meter", meter),
	);
}

/** Count an absent value and an empty text as one, as the filter does; the most frequent first. */
export function mergeEmpty(values) {
	const counts = new Map();
	for (const { value, leads } of values) counts.set(value ?? "", (counts.get(value ?? "") ?? 0) + leads);
	return [...counts].map(([value, leads]) => ({ value, leads })).sort((one, other) => other.leads - one.leads);
}
