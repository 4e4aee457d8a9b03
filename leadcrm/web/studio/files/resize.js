// Changing the width of a column: dragged at the edge of its head, typed in the menu of the columns, or as it fits.

import { arrangement, clampWidth } from "./columns.js";
import { applyWidths, headsOf } from "./widths.js";

/** Set the width of a column, or take it back with null. All that are in sight stay as wide as they are. */
export function setWidth(table, name, width) {
	const { [name]: _, ...others } = widthsOf(table);
	keep(width === null ? others : { ...others, [name]: clampWidth(width) }, table);
	applyWidths(table);
}

/** Make a column as wide as the widest of what it shows. */
export function fit({ name, table, onKept }) {
	applyWidths(table, { ...widthsOf(table), [name]: clampWidth(0) });
	const cells = [...table.querySelectorAll(`.c-${name}`)];
	setWidth(table, name, Math.max(...cells.map((cell) => cell.scrollWidth + 1)));
	onKept();
}

/** Follow the pointer, which has been pressed on a handle at `start`. */
export function drag(handle, start, { name, table, onKept }) {
	const before = widthsOf(table);
	let widths = null;

	function move({ clientX, buttons }) {
		if (!buttons) {
			end();
			return;
		}
		widths = { ...before, [name]: clampWidth(before[name] + clientX - start) };
		applyWidths(table, widths);
	}

	function end() {
		handle.removeEventListener("pointermove", move);
		handle.removeEventListener("lostpointercapture", end);
		if (!widths) return;
		keep(widths, table);
		onKept();
	}

	handle.addEventListener("pointermove", move);
	handle.addEventListener("lostpointercapture", end);
}

const inSight = (table) => headsOf(table).filter((head) => head.offsetWidth);

const widthsOf = (table) => Object.fromEntries(inSight(table).map((head) => [head.dataset.column, head.offsetWidth]));

// What is in sight is what the person has made their own.
function keep(widths, table) {
	arrangement.keep({ columns: inSight(table).map((head) => head.dataset.column), widths });
}
