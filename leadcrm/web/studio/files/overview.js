// The overview: what arrived, by time, outcome and value, of the leads that the filter lets through.

import { api } from "./api.js";
import { chart } from "./chart.js";
import { button, h, notice, redraw } from "./dom.js";
import { chipsOf } from "./filters.js";
import { dayOf, formatNumber, longTime, zone } from "./format.js";
import { OutcomeTable } from "./outcomes.js";
import { LABELS, place } from "./place.js";

const HOUR_MS = 3600000;
const DAY_MS = 24 * HOUR_MS;
const RELOAD_INTERVAL_MS = 5000;
const MAX_VALUES = 8;
const MAX_HOURLY_DAYS = 7;
const PERIOD = ["from", "to"];

const RANGES = {
	day: { label: "24 hours", days: 1, step: "hour" },
	week: { label: "7 days", days: 7, step: "hour" },
	month: { label: "30 days", days: 30, step: "day" },
};

const SPOOLED = "spooled";

// Outcomes, the text of each tile, and the state by which the inbox lists them.
const TILES = [
	["created", "leads", null],
	["repeats", "repeats", "repeat"],
	["conflicts", "conflicts", "conflict"],
	["invalid", "invalid", "invalid"],
	["failed", "failed", "failed"],
	["unverified", "unverified", "unverified"],
	["unrouted", "of sources that are off", "unrouted"],
	["spooled", "in the spool now", SPOOLED],
];

// Told of only where there are any.
const RARE = ["unverified", "unrouted"];

export class OverviewView {
	constructor() {
		this.ranges = h("div", { class: "tabs", role: "group", "aria-label": "Time" });
		this.days = PERIOD.map((name) =>
			h("input", {
				type: "date",
				name,
				"aria-label": LABELS[name],
				onchange: (event) => place.go({ [name]: event.target.value || null }),
			}),
		);
		this.zone = h("span", { class: "muted" });
		this.chips = h("div", { class: "chips" });
		this.content = h("div", { class: "overview" });
		this.outcomes = new OutcomeTable();
		this.wholeValues = new Set();
		this.parts = [
			h("h1", { class: "visually-hidden" }, "Overview"),
			h("div", { class: "toolbar overview-bar" }, this.ranges, h("div", { class: "own-range" }, this.days), this.zone),
			this.chips,
			this.content,
		];
		this.loadedAt = 0;
	}

	/** The chosen range; null where the address has a period of its own. */
	get range() {
		if (PERIOD.some((name) => place.parameters.get(name))) return null;
		const range = place.parameters.get("range");
		return Object.hasOwn(RANGES, range ?? "") ? range : "day";
	}

	/** The filter but for the period, as the numbers take it. */
	get filter() {
		return place.filter.filter(([name]) => !PERIOD.includes(name) && name !== "q");
	}

	show(container) {
		if (this.parts[0].parentNode !== container) container.replaceChildren(...this.parts);
		const tabs = Object.entries(RANGES).map(([range, { label }]) => {
			const isPressed = String(range === this.range);
			return button(label, () => place.go({ range, from: null, to: null }), { "aria-pressed": isPressed });
		});
		redraw(this.ranges, ...tabs);
		for (const input of this.days) input.value = place.parameters.get(input.name)?.slice(0, 10) ?? "";
		this.zone.textContent = `Times in ${zone.name}`;
		redraw(this.chips, ...chipsOf(this.filter));
		this.chips.hidden = !this.filter.length;
		this.reload();
	}

	/** What is asked for: the period and the step. */
	get question() {
		const { range } = this;
		if (range) return { from: rangeStart(Date.now(), RANGES[range]), to: null, step: RANGES[range].step };
		const [from, to] = PERIOD.map((name) => place.parameters.get(name));
		return { from, to, step: daysBetween(from, to) <= MAX_HOURLY_DAYS ? "hour" : "day" };
	}

	async reload() {
		const { from, to, step } = this.question;
		const period = Object.entries({ from, to }).filter(([, value]) => value);
		const { filter } = this;
		const asking = JSON.stringify([period, filter]);
		this.asking = asking;
		this.loadedAt = Date.now();
		this.content.setAttribute("aria-busy", "true");
		try {
			const statistics = await api.statistics([...filter, ...period, ["step", step]]);
			if (this.asking !== asking) return;
			this.draw(statistics, filter);
			this.content.removeAttribute("aria-busy");
			await this.compare(statistics, filter, step, asking);
		} catch (error) {
			notice(error.message, "error");
		}
	}

	/** Tell how many leads there were in as long a time before. */
	async compare({ from, to, outcomes }, filter, step, asking) {
		const [start, end] = [Date.parse(from), Date.parse(to)];
		const before = [
			["from", new Date(2 * start - end).toISOString()],
			["to", from],
		];
		const earlier = await api.statistics([...filter, ...before, ["step", step]]).catch(() => null);
		const tile = this.content.querySelector(".tile small");
		if (!(earlier && tile) || this.asking !== asking) return;
		tile.textContent = changeText(outcomes.created, earlier.outcomes.created);
		tile.title = `${formatNumber(earlier.outcomes.created)} from ${longTime(before[0][1])} to ${longTime(from)}`;
	}

	arrived() {
		if (Date.now() - this.loadedAt > RELOAD_INTERVAL_MS) this.reload();
	}

	draw(statistics, filter) {
		const { outcomes, by } = statistics;
		const counted = [...filter, ["from", statistics.from], ["to", statistics.to]];
		const names = Object.entries(by).filter(([name]) => Object.hasOwn(LABELS, name));
		const breakdowns = names.map(([name, values]) => this.breakdown(name, values, outcomes.created, counted));
		// With a filter the requests that are no leads are not counted.
		const isShown = ([outcome, , state]) =>
			state ? !filter.length && (!RARE.includes(state) || outcomes[outcome]) : true;
		const tiles = TILES.filter(isShown);
		redraw(
			this.content,
			h(
				"div",
				{ class: "tiles" },
				tiles.map(([outcome, text, state]) => tile(outcomes[outcome], text, state, counted)),
			),
			chart(statistics),
			this.outcomes.element,
			h("div", { class: "breakdowns" }, breakdowns),
		);
		this.outcomes.show(counted);
	}

	breakdown(name, values, total, counted) {
		const label = LABELS[name];
		const all = mergeEmpty(values);
		const shown = this.wholeValues.has(name) ? all : all.slice(0, MAX_VALUES);
		const shares = shown.map(({ value, leads }) => share({ name, value, leads, total, counted }));
		const more = button(`Show all ${all.length}`, () => {
			this.wholeValues.add(name);
			section.replaceWith(this.breakdown(name, values, total, counted));
		});
		const content = shares.length ? shares : h("p", { class: "muted" }, "Nothing yet.");
		const rest = shown.length < all.length && more;
		const section = h("section", { class: "card chart", "aria-label": label }, h("h2", {}, label), content, rest);
		return section;
	}

	step() {}

	key() {
		return false;
	}
}

/** The start of a range, on a whole hour or day, so that the server can answer the same question from its cache. */
export function rangeStart(now, { days, step }) {
	if (step === "hour") return new Date(Math.floor(now / HOUR_MS + 1) * HOUR_MS - days * DAY_MS).toISOString();
	return dayOf(now - (days - 1) * DAY_MS);
}

const daysBetween = (from, to) => ((to ? Date.parse(to) : Date.now()) - (from ? Date.parse(from) : 0)) / DAY_MS;

/** How a number compares with the one before. */
export function changeText(count, before) {
	if (!before) return count ? "none before" : "";
	const percent = Math.round((count / before - 1) * 100);
	return `${percent > 0 ? "+" : ""}${percent}% to before`;
}

function tile(count, text, state, counted) {
	const inbox = [
		["view", "inbox"],
		["state", state],
	];
	// What waits in the spool is counted now, of all times.
	const asked = state === SPOOLED ? inbox : [...(state ? inbox : []), ...counted];
	const href = `?${new URLSearchParams(asked)}`;
	return h(
		"a",
		{ class: "card tile", href, "data-go": true },
		h("b", {}, formatNumber(count)),
		h("span", {}, text),
		!state && h("small", { class: "muted" }),
	);
}

function share({ name, value, leads, total, counted }) {
	const text = value || (name === "assignedTo" ? "nobody" : "none");
	const href = `?${new URLSearchParams([...counted.filter(([other]) => other !== name), [name, value]])}`;
	const meter = { min: 0, max: Math.max(1, total), value: leads, "aria-label": `${text}: ${leads} of ${total}` };
	return h(
		"div",
		{ class: "share" },
		h("a", { href, "data-go": true, title: text }, text),
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
