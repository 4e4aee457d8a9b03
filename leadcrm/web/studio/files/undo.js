// Taking the last change back.

import { notice } from "./dom.js";

let last = null;

/** Tell the person of a change that `undo` takes back; it returns what became of that. */
export function offerUndo(text, undo) {
	last = undo;
	notice(text, "info", { label: "Undo", run: undoLast });
}

/** Take the last change back, once. */
export async function undoLast() {
	const undo = last;
	if (!undo) return;
	last = null;
	try {
		notice(await undo());
	} catch (error) {
		last = undo;
		notice(error.message, "error");
	}
}
