// A list to choose a value from, opened over a lead's status or assignment. Enter or a click saves, leaving does not.

import { choices } from "./changes.js";
import { button, h, pill } from "./dom.js";

const MAX_SHOWN = 50;
const MAX_CHARS = 200;
const EDGE_PX = 8;

export const FIELD_LABELS = { status: "Status", assignedTo: "Assigned to" };

let close = () => {};

/** Close the list that is open, if one is. */
export const closeChooser = () => close();

/**
 * Open the list of a field's values beside an element. `save` gets the value and returns null once it is saved, or the
 * reason why it is not: the list then stays open with the text as it was typed.
 */
export function choose({ anchor, name, value, about, save, onClosed = () => {} }) {
	close();
	let shown = [];
	let marked = 0;
	let isSaving = false;
	const input = h("input", {
		role: "combobox",
		"aria-label": FIELD_LABELS[name],
		"aria-expanded": "true",
		"aria-controls": "chooser-values",
		"aria-autocomplete": "list",
		autocomplete: "off",
		maxlength: MAX_CHARS,
		placeholder: name === "status" ? "Type or press a number" : "Type a name",
		oninput: () => list(),
		onkeydown: pressKey,
	});
	const values = h("ul", { role: "listbox", id: "chooser-values", "aria-label": FIELD_LABELS[name] });
	const fault = h("p", { class: "error", role: "alert", hidden: true });
	const title = h("p", { class: "muted" }, `${FIELD_LABELS[name]} of ${about}`);
	const leave = (event) => element.contains(event.relatedTarget) || isSaving || end();
	const element = h("div", { class: "chooser", onfocusout: leave }, title, input, values, fault);

	function list() {
		const text = input.value.trim();
		shown = matching(choices.of(name), text, value).slice(0, MAX_SHOWN);
		// A name may be new, a status may not: a slip of the hand would be a status for ever.
		const isNew = text && !shown.some((choice) => choice.value === text);
		if (name === "assignedTo" && isNew) shown.push({ value: text, label: `“${text}”, a new name` });
		marked = Math.max(0, text ? 0 : shown.findIndex((choice) => choice.value === value));
		draw();
	}

	function draw() {
		const options = shown.map((choice, index) => option(choice, index));
		const nothing = h("li", { class: "muted" }, "There is no such status.");
		values.replaceChildren(...(options.length ? options : [nothing]));
		input.setAttribute("aria-activedescendant", options.length ? `choice-${marked}` : "");
		values.querySelector('[aria-selected="true"]')?.scrollIntoView?.({ block: "nearest" });
	}

	function option(choice, index) {
		const content =
			name === "status" ? pill(choice.value, choices.status(choice.value).colour) : (choice.label ?? choice.value);
		const properties = {
			role: "option",
			id: `choice-${index}`,
			"aria-selected": String(index === marked),
			// The field keeps the focus.
			onmousedown: (event) => event.preventDefault(),
			onclick: () => pick(choice),
		};
		const digit = index < 9 && h("kbd", { "aria-hidden": "true" }, index + 1);
		const apart = choice.isUnknown && h("span", { class: "muted" }, "not in the list of statuses");
		return h("li", properties, digit, content, apart);
	}

	function pressKey(event) {
		event.stopPropagation();
		const { key } = event;
		if (key === "Escape") end();
		else if (key === "Enter") shown[marked] && pick(shown[marked]);
		else if (key === "ArrowDown" || key === "ArrowUp") {
			marked = Math.max(0, Math.min(shown.length - 1, marked + (key === "ArrowDown" ? 1 : -1)));
			draw();
		} else if (/^[1-9]$/.test(key) && !input.value && shown[key - 1]) pick(shown[key - 1]);
		else return;
		event.preventDefault();
	}

	async function pick(choice) {
		if (isSaving) return;
		if (choice.value === value) {
			end();
			return;
		}
		isSaving = true;
		input.readOnly = true;
		element.setAttribute("aria-busy", "true");
		const reason = await save(choice.value);
		isSaving = false;
		input.readOnly = false;
		element.removeAttribute("aria-busy");
		if (reason === null) end();
		else
			fault.replaceChildren(
				reason,
				" ",
				button("Try again", () => pick(choice), { class: "quiet" }),
			);
		fault.hidden = reason === null;
	}

	function end() {
		if (!element.isConnected) return;
		close = () => {};
		const hadFocus = element.contains(document.activeElement);
		// Removing the field takes its focus, which would end this twice.
		element.removeEventListener("focusout", leave);
		element.remove();
		onClosed(hadFocus);
	}

	close = end;
	document.body.append(element);
	list();
	placeBeside(element, anchor);
	input.focus();
}

/** The choices that a text may mean: those that begin with it first. */
export function matching(all, text) {
	const wanted = text.toLowerCase();
	const reads = ({ value, label }) => (label ?? value).toLowerCase();
	const begins = all.filter((choice) => reads(choice).startsWith(wanted));
	const contains = all.filter((choice) => reads(choice).includes(wanted) && !begins.includes(choice));
	return [...begins, ...contains];
}

function placeBeside(element, anchor) {
	const place = anchor.getBoundingClientRect();
	const { offsetWidth: width, offsetHeight: height } = element;
	const left = Math.max(EDGE_PX, Math.min(place.left, innerWidth - width - EDGE_PX));
	const isRoomBelow = place.bottom + height + EDGE_PX < innerHeight;
	const top = isRoomBelow ? place.bottom + 2 : Math.max(EDGE_PX, place.top - height - 2);
	element.style.left = `${left}px`;
	element.style.top = `${top}px`;
}
