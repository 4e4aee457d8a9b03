// The filter of the leads: a form, and a chip for each part that is set.

import { session } from "./api.js";
import { choices } from "./changes.js";
import { button, byId, h } from "./dom.js";
import { longTime } from "./format.js";
import { FILTERS, LABELS, place } from "./place.js";

const DAYS = ["from", "to"];
// The search has a field of its own, what is due a view.
const OWN_PLACE = ["q", "due"];
const SUGGESTED = ["status", "assignedTo"];

export class FilterBar {
	constructor() {
		const collapsed = { "aria-expanded": "false", "aria-controls": "filters" };
		this.button = button("Filters", () => this.toggle(), collapsed);
		const properties = {
			class: "filters",
			id: "filters",
			hidden: true,
			"aria-label": "Filters",
			onsubmit: (event) => event.preventDefault(),
		};
		const fields = FILTERS.filter((name) => !OWN_PLACE.includes(name)).map(field);
		this.form = h("form", properties, fields);
		this.chips = h("div", { class: "chips" });
	}

	toggle() {
		this.form.hidden = !this.form.hidden;
		this.button.setAttribute("aria-expanded", String(!this.form.hidden));
		if (this.form.hidden) return;
		for (const name of SUGGESTED) suggest(name);
		this.form.querySelector("input").focus();
	}

	/** Show the filter of the address. */
	show() {
		for (const input of this.form.querySelectorAll("input, select")) {
			const value = place.parameters.get(input.name);
			const isNobody = input.name === "assignedTo" && value === "";
			if (document.activeElement !== input) input.value = isNobody ? "nobody" : value || "";
		}
		const filter = place.filter.filter(([name]) => name !== "q");
		this.chips.hidden = !filter.length;
		this.chips.replaceChildren(...filter.map(([name, value]) => chip(name, value)));
	}
}

/** Refresh the suggestions for a field. */
function suggest(name) {
	const options = choices.of(name).map(({ value, label }) => h("option", { value: value ?? label }));
	byId(`known-${name}`)?.remove();
	document.body.append(h("datalist", { id: `known-${name}` }, options));
}

/** What a text in a field of the filter asks for: null for nothing. */
export function wanted(name, text) {
	if (name !== "assignedTo") return text || null;
	const person = text.trim();
	if (person.toLowerCase() === "nobody") return "";
	return (person.toLowerCase() === "me" && session.actor) || person || null;
}

const TESTS = { "": "left out", include: "with the others", only: "alone" };

function testsField() {
	const options = Object.entries(TESTS).map(([value, text]) => h("option", { value }, text));
	const onchange = (event) => place.go({ tests: event.target.value || null }, { replace: true });
	return h("label", {}, LABELS.tests, h("select", { name: "tests", onchange }, options));
}

function field(name) {
	if (name === "tests") return testsField();
	const input = h("input", {
		name,
		type: DAYS.includes(name) ? "date" : "text",
		maxlength: 500,
		list: SUGGESTED.includes(name) ? `known-${name}` : null,
		onchange: (event) => place.go({ [name]: wanted(name, event.target.value) }, { replace: true }),
	});
	return h("label", {}, LABELS[name], input);
}

function chip(name, value) {
	const shown = /T\d\d:/.test(value) ? longTime(value) : value;
	const text = `${LABELS[name]}: ${(name === "tests" && TESTS[value]) || shown || (name === "assignedTo" ? "nobody" : "none")}`;
	const remove = () => place.go({ [name]: place.parameters.getAll(name).filter((other) => other !== value) });
	return button(text, remove, { class: "chip", "aria-label": `Remove the filter ${text}` });
}
