// The views that a person has saved in this browser: a name, and the filter and order that it stands for.

import { button, h, notice } from "./dom.js";
import { NEWEST_FIRST } from "./place.js";

const KEPT = "leadcrm.views";
const MAX_VIEWS = 20;
const MAX_NAME_CHARS = 40;

export const saved = {
	/** The views, each with a name and the query of its address. */
	get views() {
		try {
			const kept = JSON.parse(localStorage.getItem(KEPT)) ?? [];
			return kept.filter(({ name, query }) => typeof name === "string" && typeof query === "string");
		} catch {
			return [];
		}
	},
	/** Keep a view; one of the same name is replaced. */
	add(name, query) {
		const others = this.views.filter((view) => view.name !== name);
		localStorage.setItem(KEPT, JSON.stringify([...others, { name, query }].slice(-MAX_VIEWS)));
	},
	remove(query) {
		localStorage.setItem(KEPT, JSON.stringify(this.views.filter((view) => view.query !== query)));
	},
};

/** The button that saves what is shown as a view, or forgets the saved view that is shown; null where neither makes sense. */
export function saveButton(query, isBuiltIn, onChange) {
	if (!query || isBuiltIn) return null;
	if (saved.views.some((view) => view.query === query)) {
		const forget = () => {
			saved.remove(query);
			onChange();
		};
		return button("Forget this view", forget, { class: "quiet" });
	}
	return button("Save view", () => askName(query, onChange), { class: "quiet" });
}

function askName(query, onChange) {
	const name = h("input", { "aria-label": "Name of the view", maxlength: MAX_NAME_CHARS, required: true });
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "save-view" },
		h("h2", { id: "save-view" }, "Save this view"),
		h("p", { class: "detail" }, "It stays in this browser. To share it, pass the address on."),
		h(
			"form",
			{ method: "dialog", class: "answers" },
			name,
			button("Cancel", () => dialog.close("no"), { class: "quiet" }),
			h("button", { class: "primary", value: "yes" }, "Save"),
		),
	);
	dialog.addEventListener("close", () => {
		dialog.remove();
		const text = name.value.trim();
		if (dialog.returnValue !== "yes" || !text) return;
		saved.add(text, query);
		notice(`Saved as ${text}`);
		onChange();
	});
	document.body.append(dialog);
	dialog.showModal();
	name.focus();
}

/** The query that a view's filter and order make in the address. */
export function queryOf(filter, sort) {
	return new URLSearchParams([...filter, ...(sort && sort !== NEWEST_FIRST ? [["sort", sort]] : [])]).toString();
}
