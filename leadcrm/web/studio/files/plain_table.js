// A table of some hundred rows, which on a phone are cards. The roles stay when the layout is no table's.

import { h } from "./dom.js";

export class PlainTable {
	constructor(label, heads) {
		this.heads = heads;
		this.body = h("tbody", { role: "rowgroup" });
		const shown = (text) => text || h("span", { class: "visually-hidden" }, "Actions");
		const cells = heads.map((text) => h("th", { scope: "col", role: "columnheader" }, shown(text)));
		const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, cells));
		this.element = h("table", { role: "table", "aria-label": label }, head, this.body);
	}

	/** Show rows, each with its cells and perhaps a state, or a text where there is none. */
	show(rows, nothing) {
		this.body.replaceChildren();
		if (rows.length) this.add(rows);
		else {
			const cell = h("td", { class: "muted", role: "cell", colspan: String(this.heads.length) }, nothing);
			this.body.append(h("tr", { role: "row" }, cell));
		}
	}

	add(rows) {
		const cell = (content, index) => h("td", { role: "cell", "data-label": this.heads[index] || null }, content);
		this.body.append(...rows.map(({ cells, state }) => h("tr", { role: "row", "data-state": state }, cells.map(cell))));
	}
}
