// The widths of the leads' columns, as the table shows them.

import { arrangement } from "./columns.js";
import { h } from "./dom.js";

const CHECK_PX = 38;
const DEFAULT_PX = 132;

export const headsOf = (table) => [...table.querySelectorAll('th[data-column]:not([data-column="check"])')];

/** Give the columns of a table the widths that the person has set; where there are none, those of the style sheet. */
export function applyWidths(table, widths = arrangement.widths) {
	const isSized = Object.keys(widths).length > 0;
	let total = CHECK_PX;
	for (const head of headsOf(table)) {
		const width = widths[head.dataset.column] ?? DEFAULT_PX;
		head.style.width = isSized ? `${width}px` : "";
		if (head.offsetWidth) total += width;
	}
	table.classList.toggle("sized", isSized);
	table.style.setProperty("--width", `${total}px`);
}

/** The edge of a column's head, by which the column is made wider or narrower. A double click makes it fit. */
export function widthHandle(name, table, onKept) {
	const onpointerdown = async (event) => {
		const { currentTarget: handle, clientX, pointerId } = event;
		event.preventDefault();
		handle.setPointerCapture(pointerId);
		(await import("./resize.js")).drag(handle, clientX, { name, table, onKept });
	};
	const ondblclick = async () => (await import("./resize.js")).fit({ name, table, onKept });
	const title = "Drag to resize, double click to fit";
	return h("span", { class: "handle", "aria-hidden": "true", title, onpointerdown, ondblclick });
}
