// The views that a person has saved in this browser: a name, the filter and order that it stands for, and its columns.

import { button } from "./dom.js";
import { NEWEST_FIRST, place } from "./place.js";

const KEPT = "leadcrm.views";
const MAX_VIEWS = 20;

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
	/** The view that the address asks for, if it is one of these. */
	get shown() {
		const query = queryOf(place.filter, place.sort);
		return this.views.find((view) => view.query === query);
	},
	/** Keep a view with its columns; one of the same name is replaced. */
	add(name, query, arrangement) {
		const others = this.views.filter((view) => view.name !== name);
		localStorage.setItem(KEPT, JSON.stringify([...others, { name, query, arrangement }].slice(-MAX_VIEWS)));
	},
	/** Give the view that is shown other columns. */
	arrange(arrangement) {
		const { query } = this.shown;
		const views = this.views.map((view) => (view.query === query ? { ...view, arrangement } : view));
		localStorage.setItem(KEPT, JSON.stringify(views));
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
	return button("Save view", async () => (await import("./save_view.js")).askName(query, onChange), { class: "quiet" });
}

/** The query that a view's filter and order make in the address. */
export function queryOf(filter, sort) {
	return new URLSearchParams([...filter, ...(sort && sort !== NEWEST_FIRST ? [["sort", sort]] : [])]).toString();
}
