// The dialog that lists the keys.

import { h } from "./dom.js";

// Groups of keys, each by the right that they need, with what they do.
const GROUPS = [
	[
		null,
		[
			["/", "search"],
			["j k ↓ ↑", "down and up the list, with what is open"],
			["Enter", "open"],
		],
	],
	[
		"work",
		[
			["e", "edit the status"],
			["a", "assign"],
			["n", "take the next lead"],
			["c", "note something about the open lead"],
			["z", "take the last change back"],
		],
	],
	[
		"bulk",
		[
			["x", "select"],
			["E A", "status and assignment of all selected"],
			["d", "archive a request of the inbox"],
		],
	],
	[
		null,
		[
			["Esc", "close"],
			["1 2 3", "leads, inbox, overview"],
		],
	],
	["operate", [["4 5", "sources, sinks"]]],
];

const line = ([keys, does]) => [
	h(
		"dt",
		{},
		keys.split(" ").flatMap((key) => [h("kbd", {}, key), " "]),
	),
	h("dd", {}, does),
];

/** Show the keys, until they are closed. */
export function showShortcuts() {
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "shortcuts-title", onclose: () => dialog.remove() },
		h("h2", { id: "shortcuts-title" }, "Keyboard"),
		h(
			"dl",
			{ class: "keys" },
			GROUPS.map(([right, keys]) => h("div", { "data-needs": right }, keys.map(line))),
		),
		h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")),
	);
	document.body.append(dialog);
	dialog.showModal();
}
