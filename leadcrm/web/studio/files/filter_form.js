// The form of the filter: a field for each column that a filter asks for.

import { session } from "./api.js";
import { h } from "./dom.js";
import { TESTS } from "./filters.js";
import { dayOf, zone } from "./format.js";
import { LABELS, place } from "./place.js";
import { valueField } from "./values.js";

const DAYS = ["from", "to"];
const CHOSEN = ["status", "assignedTo", "country", "offer", "marker", "sourcetype", "source", "domain", "lang", "creo"];
const TYPED = ["email", "phone"];
// Of these a part is looked for.
const PARTS = ["description", "click_id"];

/** Put the fields into the form, and return what shows the filter of the address in them. */
export function fillForm(form) {
	const chosen = CHOSEN.map((name) => valueField(name, { actor: () => session.actor }));
	form.append(...chosen, ...[...DAYS, ...TYPED].map(field), ...PARTS.map(partField), testsField());
	return () => {
		for (const name of [...DAYS, ...TYPED, "tests"]) {
			const input = form.elements[name];
			const value = place.parameters.get(name) || "";
			const shown = DAYS.includes(name) && value.includes("T") ? dayOf(value) : value;
			if (document.activeElement !== input) input.value = shown;
			if (DAYS.includes(name)) input.previousSibling.textContent = `${LABELS[name]} (${zone.name})`;
		}
	};
}

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
