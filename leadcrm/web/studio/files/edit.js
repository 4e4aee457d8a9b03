// Status and assignment: buttons that open the list of values.

import { session } from "./api.js";
import { changeLead, choices } from "./changes.js";
import { choose, FIELD_LABELS } from "./chooser.js";
import { h, pill } from "./dom.js";
import { fullName } from "./format.js";
import { offerUndo } from "./undo.js";

export const nameOf = (lead) => fullName(lead) || lead.email || lead.phone || "a lead without a name";

/** Open the list of values for a lead. `onChanged` gets the lead as it is now, `onClosed` whether the list had the focus. */
export function edit({ lead, name, anchor, onChanged, onClosed }) {
	if (!session.may("work")) return;
	let seen = lead;

	async function save(value) {
		const done = await changeLead(seen, { [name]: value });
		if (done.lead) {
			// What the person saves after the message about another's change is meant to replace it.
			seen = done.lead;
			onChanged(done.lead);
		}
		if (!done.isSaved) return done.message;
		offerUndo("Saved", () => takeBack(done.lead, { [name]: lead[name] }, onChanged));
		return null;
	}

	choose({ anchor, name, value: lead[name], about: nameOf(lead), save, onClosed });
}

/** Undo a change of a lead, and return what became of that. */
export async function takeBack(lead, changes, onChanged) {
	const done = await changeLead(lead, changes);
	if (done.lead) onChanged(done.lead);
	return done.isSaved ? "Taken back" : done.message;
}

/** A button that shows a value and opens the list of values. */
export function editButton(lead, name, { label, onChanged, onClosed }) {
	const value = lead[name];
	const text = value || h("span", { class: "nobody" }, "nobody");
	const shown = name === "status" ? pill(value, choices.status(value).colour) : text;
	if (!session.may("work")) return h("span", { title: value || null }, shown);
	const properties = {
		class: "edit",
		type: "button",
		title: value || null,
		"data-control": name,
		"aria-haspopup": "listbox",
		"aria-label": label ?? `${FIELD_LABELS[name]}: ${value || "nobody"}. Edit`,
		onclick: (event) => {
			event.stopPropagation();
			edit({ lead, name, anchor: event.currentTarget, onChanged, onClosed });
		},
	};
	return h("button", properties, shown);
}
