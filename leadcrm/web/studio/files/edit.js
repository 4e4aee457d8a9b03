// Status and assignment, edited in place.

import { changeLead, known } from "./changes.js";
import { byId, h, notice, pill } from "./dom.js";

const MAX_SUGGESTIONS = 50;

/** Refresh the suggestions for a field and return the id of their list. */
export function suggest(name) {
	const id = `known-${name}`;
	const options = [...known[name]].slice(0, MAX_SUGGESTIONS).map((value) => h("option", { value }));
	byId(id)?.remove();
	document.body.append(h("datalist", { id }, options));
	return id;
}

/** Change a lead and tell the person. Returns the lead as it is now, or null if that is unknown. */
export async function saveChange(lead, changes) {
	const changed = await changeLead(lead, changes);
	notice(changed.message, changed.kind);
	return changed.lead;
}

/** The value to save, null for nobody, or undefined where the text changes nothing. */
export function changedValue(lead, name, text) {
	const value = text.trim();
	if (value === (lead[name] ?? "") || (name === "status" && !value)) return undefined;
	return value || null;
}

/** A button that shows a value and gives way to a field. */
export function editable(lead, name, onChanged) {
	const value = lead[name];
	const label = name === "status" ? "Status" : "Assigned to";
	const nobody = h("span", { class: "nobody" }, "nobody");
	const content = name === "status" ? pill(value) : value || nobody;
	const properties = {
		class: "edit",
		type: "button",
		"data-control": name,
		"aria-label": `${label}: ${value || "nobody"}. Edit`,
		onclick: (event) => {
			event.stopPropagation();
			editInPlace({ lead, name, label, button, onChanged });
		},
	};
	const button = h("button", properties, content);
	return button;
}

function editInPlace({ lead, name, label, button, onChanged }) {
	let isOver = false;

	function end(changed) {
		if (isOver) return;
		isOver = true;
		input.replaceWith(button);
		button.focus({ preventScroll: true });
		if (changed) onChanged(changed);
		// The list was not drawn during the edit.
		button.dispatchEvent(new CustomEvent("edited", { bubbles: true }));
	}

	async function save() {
		// Disabling the field takes its focus, which would save again.
		if (isOver || input.disabled) return;
		const value = changedValue(lead, name, input.value);
		if (value === undefined) {
			end(null);
			return;
		}
		input.disabled = true;
		end(await saveChange(lead, { [name]: value }));
	}

	const input = h("input", {
		class: "editing",
		value: lead[name] || "",
		"aria-label": label,
		list: suggest(name),
		maxlength: 200,
		onkeydown: (event) => {
			event.stopPropagation();
			if (event.key === "Enter") save();
			if (event.key === "Escape") end(null);
		},
		onblur: save,
		onclick: (event) => event.stopPropagation(),
	});
	button.replaceWith(input);
	input.focus();
	input.select();
}
