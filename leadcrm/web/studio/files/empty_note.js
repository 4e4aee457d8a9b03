// What is shown where there is nothing.

import { h } from "./dom.js";

/** The note that stands in for rows where there are none. */
export const emptyNote = (title, text, ...more) =>
	h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, text), more);
