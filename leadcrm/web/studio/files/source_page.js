// The page of one source or preset: what to do at the sender's, the last requests, and trying a mapping on them.

import { api } from "./api.js";
import { copy } from "./contact.js";
import { button, h, pill, time } from "./dom.js";
import { emptyNote } from "./empty_note.js";
import { countsText, statePills } from "./sources.js";
import { TrialPanel } from "./trial.js";

const EXAMPLE = "https://leads.example.com";
const STATES = [
	"stored",
	"batch",
	"event",
	"repeat",
	"conflict",
	"unrouted",
	"unverified",
	"invalid",
	"failed",
	"spooled",
];
const LAST_REQUESTS = 10;

/** The address of this server, without the studio's own part. */
const here = () => new URL(".", location.href.split("?")[0]).href.replace(/\/$/, "");

const copied = (text, label) =>
	h(
		"div",
		{ class: "copied" },
		h("pre", { class: "body", tabindex: "0", "aria-label": label }, text),
		button("Copy", () => copy(text), { class: "quiet", "aria-label": `Copy the ${label.toLowerCase()}` }),
	);

const section = (title, ...content) =>
	h("section", { class: "card", "aria-label": title }, h("h2", {}, title), content);

const back = (...title) =>
	h("header", {}, h("a", { href: "?view=sources", "data-go": true }, "‹ Sources"), h("h1", {}, title));

/** What to paste, click and try at the sender's. */
function setUp(page) {
	const address = here();
	const hasToken = page.url.endsWith("/TOKEN");
	return section(
		"Set up at the sender's",
		page.about && h("p", {}, page.about),
		h("h3", {}, "URL to paste"),
		copied(page.url.replace(EXAMPLE, address), "URL"),
		hasToken && h("p", { class: "muted" }, "TOKEN stands for the source's secret, which is shown nowhere."),
		page.secret && [h("h3", {}, "Secret"), h("p", {}, page.secret)],
		h("h3", {}, "Steps"),
		h(
			"ol",
			{},
			page.steps.map((step) => h("li", {}, step)),
		),
		h("h3", {}, "Try it from a terminal"),
		copied(page.test.replaceAll(EXAMPLE, address), "Command"),
	);
}

/** The parts of a preset's page. */
export function presetPage(preset) {
	if (!preset)
		return [back("Presets"), emptyNote("There is no such preset", "The list of sources ends with all presets.")];
	return [back(preset.title, " ", pill(preset.preset)), setUp(preset)];
}

export class SourcePage {
	/** Return the parts of a source's page. */
	async ask(name) {
		const states = STATES.map((state) => ["state", state]);
		const [{ source, page, text }, { rows }] = await Promise.all([
			api.source(name),
			api.inbox([["source", name], ["limit", LAST_REQUESTS], ...states]),
		]);
		const panel = new TrialPanel(source, text, rows[0]?.id);
		return [
			back(source.source, " ", statePills(source)),
			source.warning && h("p", { class: "note" }, `It used to send, and has been ${source.warning}.`),
			h("div", { class: "halves" }, setUp(page), section("What came in", facts(source), lastRequests(rows, panel))),
			panel.element,
		].filter(Boolean);
	}
}

function facts(source) {
	const at = (text) => (text ? time(text) : "none in 30 days");
	const pairs = [
		["24 hours", countsText(source.requestsOfDay)],
		["7 days", countsText(source.requestsOfWeek)],
		["30 days", countsText(source.requests)],
		["Last request", at(source.lastRequest)],
		["Last lead", at(source.lastLead)],
		["Preset", source.title],
		[
			"Key",
			source.hasKey ? "from the request, so that a repeat is no second lead" : "the Idempotency-Key header alone",
		],
	];
	return h(
		"dl",
		{ class: "fields" },
		pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
	);
}

function lastRequests(rows, panel) {
	if (!rows.length) return h("p", { class: "muted" }, "No request has come in lately.");
	const entry = (row) =>
		h(
			"li",
			{},
			time(row.receivedAt),
			pill(row.state, row.state),
			h("span", { class: "why" }, row.error ?? ""),
			h("a", { href: `?view=sources&name=${row.source}&open=${row.id}`, "data-go": true }, "Open"),
			button("Try", () => panel.take(row.id), { class: "quiet", "aria-label": "Try this request" }),
		);
	return [h("h3", {}, "Last requests"), h("ul", { class: "requests" }, rows.map(entry))];
}
