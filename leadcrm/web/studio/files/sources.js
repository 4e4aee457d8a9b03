// The view of the sources: who sends leads, what came in lately, and what to do at a sender's.

import { api } from "./api.js";
import { button, h, notice, pill, time } from "./dom.js";
import { emptyNote } from "./empty_note.js";
import { formatNumber } from "./format.js";
import { place } from "./place.js";
import { presetPage, SourcePage } from "./source_page.js";

const STATES = ["stored", "batch", "repeat", "conflict", "invalid", "failed", "unverified", "unrouted", "event"];

/** Counts by state, the usual state first. */
export function countsText(counts) {
	const known = STATES.filter((state) => counts[state]);
	return known.map((state) => `${formatNumber(counts[state])} ${state}`).join(", ") || "none";
}

export const statePills = ({ enabled, retired, verify }) => [
	retired ? pill("taken out", "amber") : !enabled && pill("off", "amber"),
	verify === "open" ? pill("open to anybody", "red") : pill(`proved by ${verify}`, "green"),
];

const link = (parameters, text) =>
	h("a", { href: `?${new URLSearchParams({ view: "sources", ...parameters })}`, "data-go": true }, text);

const COLUMNS = [
	["what", "Source"],
	["day", "24 hours"],
	["week", "7 days"],
	["request", "Last request"],
	["lead", "Last lead"],
];

export class SourcesView {
	constructor() {
		this.content = h("div", { class: "places" });
		this.page = new SourcePage();
		this.asked = 0;
	}

	show(container) {
		container.replaceChildren(this.content);
		const { parameters } = place;
		const shown = JSON.stringify([parameters.get("name"), parameters.get("preset")]);
		// What is open in the drawer changes nothing here.
		if (shown === this.shown && parameters.get("open")) return;
		this.shown = shown;
		this.reload();
	}

	async reload() {
		const { parameters } = place;
		const [name, preset] = ["name", "preset"].map((key) => parameters.get(key));
		this.asked += 1;
		const { asked } = this;
		try {
			const parts = await this.ask(name, preset);
			if (asked !== this.asked) return;
			this.content.replaceChildren(...parts);
			this.content.scrollTop = 0;
		} catch (error) {
			notice(error.message, "error");
			if (asked === this.asked) this.content.replaceChildren(emptyNote("This could not be loaded", error.message));
		}
	}

	async ask(name, preset) {
		if (name) return this.page.ask(name);
		const [{ sources, fault }, { presets }] = await Promise.all([api.sources(), api.presets()]);
		if (preset) return presetPage(presets.find((one) => one.preset === preset));
		return this.list(sources, fault, presets);
	}

	list(sources, fault, presets) {
		const look = { class: "quiet", "aria-label": "Look again", title: "Look again" };
		return [
			h(
				"header",
				{},
				h("h1", {}, "Sources"),
				button("↻", () => this.reload(), look),
			),
			fault && h("p", { class: "note" }, fault),
			sources.length ? table(sources) : noSource(),
			h(
				"section",
				{ "aria-labelledby": "presets" },
				h("h2", { id: "presets" }, "What a source can begin with"),
				h(
					"ul",
					{ class: "presets" },
					presets.map((one) => h("li", {}, link({ preset: one.preset }, one.title))),
				),
			),
		].filter(Boolean);
	}
}

function table(sources) {
	const head = COLUMNS.map(([name, text]) => h("th", { scope: "col", class: `p-${name}` }, text));
	return h(
		"div",
		{ class: "card table" },
		h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, sources.map(row))),
	);
}

function row(source) {
	const cell = (name, ...content) => h("td", { class: `p-${name}` }, content);
	const at = (text) => (text ? time(text) : h("span", { class: "muted" }, "none in 30 days"));
	return h(
		"tr",
		{},
		h(
			"th",
			{ scope: "row", class: "p-what" },
			link({ name: source.source }, source.source),
			h("span", { class: "muted" }, source.title),
			h("span", { class: "pills" }, statePills(source), source.warning && pill(source.warning, "red")),
		),
		cell("day", countsText(source.requestsOfDay)),
		cell("week", countsText(source.requestsOfWeek)),
		cell("request", at(source.lastRequest)),
		cell("lead", at(source.lastLead)),
	);
}

const noSource = () =>
	emptyNote(
		"No source yet",
		"A source is a URL of its own for a form, an ad platform or a tool, described in the file that SOURCES_FILE names.",
	);
