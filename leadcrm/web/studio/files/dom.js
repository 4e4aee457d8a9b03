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

export const button = (content, onclick, properties = {}) =>
	h("button", { type: "button", onclick, ...properties }, content);

/** The note that stands in for rows where there are none. */
export const emptyNote = (title, text, ...more) =>
	h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, text), more);

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

/** Ask a question that is answered by a button, and return whether the answer is yes. */
export function ask(question, detail, yes) {
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "question" },
		h("h2", { id: "question" }, question),
		h("p", { class: "detail" }, detail),
		h(
			"form",
			{ method: "dialog", class: "answers" },
			h("button", { class: "quiet", value: "no" }, "Cancel"),
			h("button", { class: "primary", value: "yes", autofocus: true }, yes),
		),
	);
	document.body.append(dialog);
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.addEventListener("close", () => {
			dialog.remove();
			resolve(dialog.returnValue === "yes");
		});
	});
}
