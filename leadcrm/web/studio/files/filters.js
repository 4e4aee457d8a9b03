// The filter of the leads: a form, which is loaded when it is opened, and a chip for each part that is set.

import { button, h, notice, redraw } from "./dom.js";
import { longTime } from "./format.js";
import { addStyle } from "./lazy.js";
import { LABELS, place } from "./place.js";

export const TESTS = { "": "left out", include: "with the others", only: "alone" };

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
		this.form = h("form", properties);
		this.chips = h("div", { class: "chips" });
		this.showInForm = null;
	}

	async toggle() {
		try {
			const [{ fillForm }] = await Promise.all([import("./filter_form.js"), addStyle("studio/filters.css")]);
			this.showInForm ??= fillForm(this.form);
		} catch {
			notice("The filters cannot be loaded: the server cannot be reached.", "error");
			return;
		}
		this.form.hidden = !this.form.hidden;
		this.button.setAttribute("aria-expanded", String(!this.form.hidden));
		if (this.form.hidden) return;
		this.showInForm();
		this.form.querySelector("input").focus();
	}

	/** Show the filter of the address. */
	show() {
		this.showInForm?.();
		const filter = place.filter.filter(([name]) => name !== "q");
		this.chips.hidden = !filter.length;
		redraw(this.chips, ...chipsOf(filter));
	}
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
