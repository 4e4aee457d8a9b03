// The dialog that gives a view its name.

import { arrangement } from "./columns.js";
import { button, h, notice } from "./dom.js";
import { saved } from "./saved.js";

const MAX_NAME_CHARS = 40;

/** Ask for a name and save the view. `onChange` is called once that is done. */
export function askName(query, onChange) {
	const name = h("input", { "aria-label": "Name of the view", maxlength: MAX_NAME_CHARS, required: true });
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "save-view" },
		h("h2", { id: "save-view" }, "Save this view"),
		h("p", { class: "detail" }, "It stays in this browser, with its columns. To share it, pass the address on."),
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
		saved.add(text, query, arrangement.kept);
		notice(`Saved as ${text}`);
		onChange();
	});
	document.body.append(dialog);
	dialog.showModal();
	name.focus();
}
