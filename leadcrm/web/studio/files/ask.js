// The dialog that asks before what cannot be taken back, or is much.

import { h } from "./dom.js";

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
