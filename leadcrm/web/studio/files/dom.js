// Builds elements from data. Text stays text: nothing here parses HTML, whatever a sender wrote.

import { longTime, shortTime } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const IN_SVG = new Set(["svg", "g", "rect", "line", "text", "title"]);
const AS_PROPERTY = new Set(["value", "checked", "indeterminate"]);

const isAbsent = (value) => value === null || value === undefined || value === false;

/** Make an element. Properties that begin with "on" are listeners; a null or false property or child is left out. */
export function h(name, properties = {}, ...children) {
	const element = IN_SVG.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
	for (const [key, value] of Object.entries(properties)) {
		if (isAbsent(value)) continue;
		if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
		else if (AS_PROPERTY.has(key)) element[key] = value;
		else element.setAttribute(key, value === true ? "" : String(value));
	}
	element.append(...children.flat(Number.POSITIVE_INFINITY).filter((child) => !isAbsent(child)));
	return element;
}

const labelOf = (element) => element.getAttribute("aria-label") ?? element.textContent;

/** Show other children in an element. What had the focus has it again, and what was unfolded stays so. */
export function redraw(element, ...children) {
	const controls = () => [...element.querySelectorAll("a, button, summary")];
	const index = controls().indexOf(document.activeElement);
	const focused = controls()[index];
	const folds = () => [...element.querySelectorAll("details")];
	const wereOpen = folds().map(({ open }) => open);
	element.replaceChildren(...children);
	for (const [place, fold] of folds().entries()) fold.open = wereOpen[place] ?? false;
	if (!focused) return;
	const isSame = (other) =>
		other?.localName === focused.localName && (focused.localName === "a" || labelOf(other) === labelOf(focused));
	const href = focused.getAttribute("href");
	const again = (href && controls().find((other) => other.getAttribute("href") === href)) || controls()[index];
	if (isSame(again)) again.focus({ preventScroll: true });
}

export const button = (content, onclick, properties = {}) =>
	h("button", { type: "button", onclick, ...properties }, content);

export const byId = (id) => document.getElementById(id);

export const time = (text) => h("time", { datetime: text, title: longTime(text) }, shortTime(text));

export const pill = (text, kind) => h("span", { class: "pill", "data-kind": kind }, text);

const NOTICE_MS = { info: 3500, error: 7000 };
const ACTION_MS = 12000;

/** Show the person a message for some seconds, with a button for an action if there is one. */
export function notice(text, kind = "info", action = null) {
	const run = () => {
		element.remove();
		action.run();
	};
	const element = h("div", { class: "notice", "data-kind": kind }, h("span", {}, text));
	if (action) element.append(button(action.label, run));
	byId("notices").append(element);
	setTimeout(() => element.remove(), action ? ACTION_MS : NOTICE_MS[kind]);
}
