// The filter of the leads: a form, and a chip for each part that is set.

import { session } from "./api.js";
import { button, h } from "./dom.js";
import { dayOf, longTime, zone } from "./format.js";
import { LABELS, place } from "./place.js";
import { valueField } from "./values.js";

const DAYS = ["from", "to"];
const CHOSEN = ["status", "assignedTo", "country", "offer", "marker", "sourcetype", "source", "domain", "lang", "creo"];
const TYPED = ["email", "phone"];
// Of these a part is looked for.
const PARTS = ["description", "click_id"];

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
		const chosen = CHOSEN.map((name) => valueField(name, { actor: () => session.actor }));
		this.form = h("form", properties, chosen, [...DAYS, ...TYPED].map(field), PARTS.map(partField), testsField());
		this.chips = h("div", { class: "chips" });
	}

	toggle() {
		this.form.hidden = !this.form.hidden;
		this.button.setAttribute("aria-expanded", String(!this.form.hidden));
		if (this.form.hidden) return;
		this.form.querySelector("input").focus();
	}

	/** Show the filter of the address. */
	show() {
		for (const name of [...DAYS, ...TYPED, "tests"]) {
			const input = this.form.elements[name];
			const value = place.parameters.get(name) || "";
			const shown = DAYS.includes(name) && value.includes("T") ? dayOf(value) : value;
			if (document.activeElement !== input) input.value = shown;
			if (DAYS.includes(name)) input.previousSibling.textContent = `${LABELS[name]} (${zone.name})`;
		}
		const filter = place.filter.filter(([name]) => name !== "q");
		this.chips.hidden = !filter.length;
		this.chips.replaceChildren(...chipsOf(filter));
	}
}

const TESTS = { "": "left out", include: "with the others", only: "alone" };

function testsField() {
	const options = Object.entries(TESTS).map(([value, text]) => h("option", { value }, text));
	const onchange = (event) => place.go({ tests: event.target.value || null }, { replace: true });
	return h("label", {}, LABELS.tests, h("select", { name: "tests", onchange }, options));
}

function field(name) {
	const input = h("input", {
		name,
		type: DAYS.includes(name) ? "date" : "text",
		maxlength: 500,
		onchange: (event) => place.go({ [name]: event.target.value || null }, { replace: true }),
	});
	return h("label", {}, h("span", {}, LABELS[name]), input);
}

function partField(name) {
	const input = h("input", { maxlength: 400, onchange: add });

	function add() {
		const text = input.value.trim();
		input.value = "";
		if (text) place.go({ contains: [...place.parameters.getAll("contains"), `${name}:${text}`] }, { replace: true });
	}

	return h("label", {}, `${LABELS[name]} contains`, input);
}

/** The parts of a filter, each of which takes itself away. */
export const chipsOf = (filter) => filter.map(([name, value]) => chip(name, value));

/** How a part of the filter reads. */
export function chipText(name, value) {
	if (name === "contains") {
		const [column, ...text] = value.split(":");
		return `${LABELS[column] ?? column} contains ${text.join(":")}`;
	}
	const shown = /T\d\d:/.test(value) ? longTime(value) : value;
	return `${LABELS[name]}: ${(name === "tests" && TESTS[value]) || shown || (name === "assignedTo" ? "nobody" : "none")}`;
}

function chip(name, value) {
	const text = chipText(name, value);
	const remove = () => place.go({ [name]: place.parameters.getAll(name).filter((other) => other !== value) });
	return button(text, remove, { class: "chip", "aria-label": `Remove the filter ${text}` });
}
