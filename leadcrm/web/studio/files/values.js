// A field of the filter with the values that are known for a column: several may be chosen, or a part of a text.

import { api } from "./api.js";
import { choices } from "./changes.js";
import { h } from "./dom.js";
import { formatNumber } from "./format.js";
import { LABELS, place } from "./place.js";

const MAX_SHOWN = 30;

/** What a text in the field may mean: known values with it, none, and any value of which it is a part. */
export function optionsFor(text, known, { isPerson = false, me = "" } = {}) {
	const wanted = text.trim().toLowerCase();
	const none = { value: "", label: isPerson ? "nobody" : "none" };
	const mine = isPerson && me ? [{ value: me, label: `${me} (me)` }] : [];
	const isMe = ({ value }) => isPerson && wanted === "me" && value === me;
	const listed = [...mine, none, ...known.filter(({ value }) => value && value !== me)];
	const reads = ({ value, label }) => (label ?? value).toLowerCase();
	const matching = listed.filter((option) => reads(option).includes(wanted));
	if (!wanted) return matching;
	const rank = (option) =>
		(isMe(option) ? -1 : 2) - Number(reads(option).startsWith(wanted)) - Number(reads(option) === wanted);
	const sorted = matching.sort((one, other) => rank(one) - rank(other));
	const isKnown = listed.some((option) => option.value === text.trim());
	return [
		...sorted,
		{ part: text.trim(), label: `contains “${text.trim()}”` },
		...(isKnown ? [] : [{ value: text.trim(), label: `exactly “${text.trim()}”` }]),
	];
}

/** The field for a column. What is chosen goes into the address. */
export function valueField(name, { actor }) {
	let known = [];
	let shown = [];
	let marked = 0;
	const list = h("ul", {
		role: "listbox",
		id: `values-${name}`,
		"aria-label": `Values of ${LABELS[name]}`,
		hidden: true,
	});
	const input = h("input", {
		name,
		role: "combobox",
		"aria-expanded": "false",
		"aria-controls": `values-${name}`,
		"aria-autocomplete": "list",
		autocomplete: "off",
		maxlength: 400,
		placeholder: "any",
		onfocus: open,
		oninput: draw,
		onkeydown: pressKey,
	});
	const element = h(
		"div",
		{ class: "value-field", onfocusout: (event) => element.contains(event.relatedTarget) || close() },
		h("label", {}, LABELS[name], input),
		list,
	);

	async function open() {
		draw();
		try {
			const { values } = await api.values(name);
			known = values.map(({ value, leads }) => ({ value: value ?? "", leads }));
		} catch {
			known = [];
		}
		// The choices of status and assignment are there also where no lead has them yet.
		const others = ["status", "assignedTo"].includes(name) ? choices.of(name) : [];
		const have = new Set(known.map(({ value }) => value));
		known.push(...others.filter(({ value }) => value && !have.has(value)).map(({ value }) => ({ value, leads: 0 })));
		if (element.contains(document.activeElement)) draw();
	}

	function close() {
		list.hidden = true;
		input.value = "";
		input.setAttribute("aria-expanded", "false");
	}

	function draw() {
		const before = shown[marked];
		shown = optionsFor(input.value, known, { isPerson: name === "assignedTo", me: actor() }).slice(0, MAX_SHOWN);
		const again = shown.findIndex((option) => before && option.value === before.value && option.part === before.part);
		marked = input.value ? 0 : Math.max(0, again);
		show();
	}

	function show() {
		list.replaceChildren(...shown.map(line));
		list.hidden = false;
		input.setAttribute("aria-expanded", "true");
		input.setAttribute("aria-activedescendant", shown.length ? `values-${name}-${marked}` : "");
		list.querySelector('[data-marked="true"]')?.scrollIntoView?.({ block: "nearest" });
	}

	function line(option, index) {
		const isChosen = isSet(name, option);
		const number = known.find(({ value }) => value === option.value && option.part === undefined)?.leads;
		const properties = {
			role: "option",
			id: `values-${name}-${index}`,
			"aria-selected": String(isChosen),
			"data-marked": String(index === marked),
			// The field keeps the focus.
			onmousedown: (event) => event.preventDefault(),
			onclick: () => pick(option),
		};
		const sign = h("span", { class: "sign", "aria-hidden": "true" }, isChosen ? "✓" : "");
		return h("li", properties, sign, option.label ?? option.value, number > 0 && h("small", {}, formatNumber(number)));
	}

	function pick(option) {
		const parameter = option.part === undefined ? name : "contains";
		const value = option.part === undefined ? option.value : `${name}:${option.part}`;
		const before = place.parameters.getAll(parameter);
		const after = before.includes(value) ? before.filter((each) => each !== value) : [...before, value];
		input.value = "";
		place.go({ [parameter]: after }, { replace: true });
		draw();
	}

	function pressKey(event) {
		const { key } = event;
		if (key === "Escape" && !list.hidden) close();
		else if (key === "Enter") shown[marked] && pick(shown[marked]);
		else if (key === "ArrowDown" || key === "ArrowUp") {
			marked = Math.max(0, Math.min(shown.length - 1, marked + (key === "ArrowDown" ? 1 : -1)));
			show();
		} else return;
		event.stopPropagation();
		event.preventDefault();
	}

	return element;
}

function isSet(name, { value, part }) {
	return part === undefined
		? place.parameters.getAll(name).includes(value)
		: place.parameters.getAll("contains").includes(`${name}:${part}`);
}
