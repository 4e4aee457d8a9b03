// The chart of requests by time and outcome, and the same as a table.

import { h } from "./dom.js";
import { formatNumber, localClock, localDay, localHour, longTime, zone } from "./format.js";

const OUTCOMES = ["created", "repeats", "conflicts", "invalid", "failed"];
const WIDTH = 1000;
const HEIGHT = 240;
// The part of a step's width that its bar takes.
const BAR_SHARE = 0.76;
const NARROW_PX = 760;
const NICE_FACTORS = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/** Draw the statistics' steps. */
export function chart({ steps, step }) {
	const max = Math.max(0, ...steps.map(requestsOf));
	const ceiling = niceCeiling(Math.max(1, max));
	const legend = OUTCOMES.map((name) => h("span", { class: `s-${name}` }, name));
	return h(
		"section",
		{ class: "card chart", "aria-label": `Requests by ${step} and outcome` },
		h(
			"div",
			{ class: "chart-head" },
			h("h2", {}, `By ${step}, ${zone.name}`),
			h("span", { class: "muted" }, `most: ${formatNumber(max)}`),
			h("div", { class: "legend" }, legend),
		),
		h("div", { class: "plot" }, scale(ceiling), bars(steps, step, ceiling)),
		axis(steps, step),
		table(steps, step),
	);
}

const requestsOf = (counts) => OUTCOMES.reduce((sum, name) => sum + counts[name], 0);

const stepName = (at, step) => (step === "hour" ? longTime(at) : localDay(at));

function bars(steps, step, ceiling) {
	const slot = WIDTH / steps.length;
	const y = (count) => HEIGHT - (count / ceiling) * HEIGHT;
	const lines = [0, 0.5, 1].map((share) => {
		const height = y(ceiling * share);
		return h("line", { x1: 0, x2: WIDTH, y1: height, y2: height, "vector-effect": "non-scaling-stroke" });
	});
	const groups = steps.map((counts, index) => bar(counts, step, { x: index * slot, width: slot, y }));
	const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
	return h("svg", view, lines, groups);
}

function bar(counts, step, { x, width, y }) {
	const present = OUTCOMES.filter((name) => counts[name]);
	let base = 0;
	const parts = present.map((name) => {
		const top = base + counts[name];
		const part = h("rect", {
			class: `s-${name}`,
			x: x + (width * (1 - BAR_SHARE)) / 2,
			width: Math.max(1, width * BAR_SHARE),
			y: y(top),
			height: y(base) - y(top),
		});
		base = top;
		return part;
	});
	const summary = present.map((name) => `${formatNumber(counts[name])} ${name}`).join(", ") || "nothing";
	const area = h("rect", { x, width, y: 0, height: HEIGHT, fill: "transparent" });
	return h("g", {}, h("title", {}, `${stepName(counts.at, step)}: ${summary}`), area, parts);
}

// The drawing is stretched to the page's width. Text would be stretched with it, so it lies over and under it.
function scale(ceiling) {
	const shares = [1, 0.5].filter((share) => Number.isInteger(ceiling * share));
	return shares.map((share) => {
		const text = h("span", { class: "scale", "aria-hidden": "true" }, formatNumber(ceiling * share));
		text.style.top = `${(1 - share) * 100}%`;
		return text;
	});
}

function axis(steps, step) {
	const labels = steps.flatMap(({ at }, index) => {
		const label = stepLabel(at, step, { index, count: steps.length, isNarrow: innerWidth < NARROW_PX });
		if (!label || index > steps.length * 0.95) return [];
		const text = h("span", {}, label);
		text.style.left = `${(index / steps.length) * 100}%`;
		return [text];
	});
	return h("div", { class: "axis", "aria-hidden": "true" }, labels);
}

function table(steps, step) {
	const head = [step === "hour" ? "Hour" : "Day", ...OUTCOMES].map((name) => h("th", { scope: "col" }, name));
	const rows = steps.map((counts) => {
		const cells = OUTCOMES.map((name) => h("td", {}, formatNumber(counts[name])));
		return h("tr", {}, h("th", { scope: "row" }, stepName(counts.at, step)), cells);
	});
	const content = h("table", { class: "data" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
	const region = { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leads by time, as a table" };
	return h("details", {}, h("summary", {}, "As a table"), h("div", region, content));
}

/** The label under a step, or null where there is no room: some days, days at midnight, hours where there are few steps. */
export function stepLabel(at, step, { index, count, isNarrow }) {
	if (step === "day") return index % Math.ceil(count / (isNarrow ? 5 : 10)) ? null : localDay(at);
	const hour = localHour(at);
	if (count > 48) return hour === 0 ? localDay(at) : null;
	return hour % (isNarrow ? 6 : 3) === 0 ? localClock(at) : null;
}

/** The next number up that reads well on a scale. */
export function niceCeiling(count) {
	const magnitude = 10 ** Math.floor(Math.log10(count));
	return NICE_FACTORS.map((factor) => factor * magnitude).find((nice) => nice >= count);
}
