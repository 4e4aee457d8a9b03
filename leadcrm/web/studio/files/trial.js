// A kept request beside what a text of SOURCES_FILE would make of it. Nothing is stored.

import { api } from "./api.js";
import { h, pill } from "./dom.js";
import { LABELS } from "./place.js";

const TITLES = { kept: "As it is kept", now: "By the source now", proposed: "By this text" };

/**
 * The values of each lead, side by side: for every lead the names with one value for each trial (null where there is
 * none), and whether a value differs from what is kept.
 */
export function compare(trials) {
	const most = Math.max(0, ...trials.map((trial) => trial.leads.length));
	return Array.from({ length: most }, (_, index) => {
		const leads = trials.map((trial) => trial.leads[index]);
		const names = [...new Set(leads.flatMap((lead) => Object.keys(lead?.fields ?? {})))];
		const values = (name) => leads.map((lead) => lead?.fields[name] ?? null);
		const rows = names.map((name) => ({ name, values: values(name) }));
		const marks = ["key", "isTest"].map((name) => ({ name, values: leads.map((lead) => lead?.[name] || null) }));
		return [...rows, ...marks.filter((mark) => mark.values.some(Boolean))].map((row) => ({
			...row,
			differs: row.values.map((value) => value !== row.values[0]),
		}));
	});
}

const labelOf = (name) => ({ key: "Key", isTest: "Test" })[name] ?? LABELS[name] ?? name;

export class TrialPanel {
	constructor(source, text, id) {
		this.source = source;
		this.id = h("input", {
			name: "id",
			value: id ?? "",
			placeholder: "id of a kept request",
			required: true,
			spellcheck: "false",
		});
		this.text = h("textarea", { name: "text", rows: 9, maxlength: 32768, spellcheck: "false", class: "mono" });
		this.text.value = text;
		this.result = h("div", { class: "result", "aria-live": "polite" });
		this.submit = h("button", { class: "primary", type: "submit" }, "Try");
		const form = h(
			"form",
			{ onsubmit: (event) => this.try(event) },
			h("label", {}, "Request", this.id),
			h("label", {}, "Text of SOURCES_FILE to try", this.text),
			h("p", { class: "muted" }, "Nothing is stored. A secret is not needed, and no file that the text names is read."),
			h("div", { class: "answers" }, this.submit),
		);
		this.element = h("section", { class: "card trial", "aria-label": "Try" }, h("h2", {}, "Try"), form, this.result);
	}

	/** Try a request with the text as it is. */
	take(id) {
		this.id.value = id;
		this.element.scrollIntoView({ block: "start" });
		this.submit.focus({ preventScroll: true });
		this.try();
	}

	async try(event) {
		event?.preventDefault();
		this.submit.disabled = true;
		try {
			this.show(await api.tryRaw(this.id.value.trim(), { source: this.source.source, text: this.text.value }));
		} catch (error) {
			this.result.replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
		}
		this.submit.disabled = false;
	}

	show({ faults, ...document }) {
		const names = Object.keys(TITLES).filter((name) => document[name]);
		const trials = names.map((name) => document[name]);
		const list = h(
			"ul",
			{ class: "faults", role: "alert" },
			faults.map((fault) => h("li", {}, fault)),
		);
		this.result.replaceChildren(...(faults.length ? [list] : []), table(names, trials));
	}
}

function table(names, trials) {
	const leads = compare(trials);
	const head = h(
		"tr",
		{},
		h("th", { scope: "col" }, "Field"),
		names.map((name) => h("th", { scope: "col" }, TITLES[name])),
	);
	const state = ({ state: name, error }) => h("td", {}, pill(name, name), error && h("p", { class: "muted" }, error));
	const cell = ({ values, differs }) =>
		values.map((value, index) => h("td", { class: differs[index] ? "differs" : null }, text(value)));
	const body = leads.map((rows, index) =>
		h(
			"tbody",
			{},
			leads.length > 1 && h("tr", {}, h("th", { colspan: names.length + 1, scope: "rowgroup" }, `Lead ${index + 1}`)),
			rows.map((row) => h("tr", {}, h("th", { scope: "row" }, labelOf(row.name)), cell(row))),
		),
	);
	const more = trials.some((trial) => trial.hasMore) && h("p", { class: "muted" }, "More leads are not shown.");
	const states = h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "State"), trials.map(state)));
	return h(
		"div",
		{},
		h(
			"div",
			{ class: "sideways", tabindex: "0" },
			h("table", { class: "compared" }, h("thead", {}, head), states, body),
		),
		more,
	);
}

function text(value) {
	if (value === null) return h("span", { class: "muted" }, "none");
	return value === true ? "yes" : value;
}
