// A table of any length: only the rows in sight are in the page, and the next page is fetched before it is needed.

import { button, h } from "./dom.js";

const ROWS_AROUND = 12;
const FETCH_AHEAD_ROWS = 60;
const MIN_ROWS_AROUND = 3;

export class Grid {
	/**
	 * `cells` makes a row's cells from an item, `more` fetches the next items, `open` opens an item. A column is its name,
	 * the content of its head and, where it sorts, how it is sorted.
	 */
	constructor({ kind, label, columns, rows, cells, more, open, empty }) {
		Object.assign(this, { rows, cells, more, open, empty });
		this.above = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
		this.below = this.above.cloneNode(true);
		this.body = h("tbody", { role: "rowgroup", onfocusin: (event) => this.follow(event.target) });
		this.head = h("tr", { role: "row" });
		this.setColumns(columns);
		const table = { class: "grid", "data-kind": kind, role: "table", "aria-label": label, "aria-rowcount": "-1" };
		this.table = h("table", table, h("thead", { role: "rowgroup" }, this.head), this.body);
		this.note = h("div");
		const redraw = () => this.draw();
		this.element = h(
			"div",
			{ class: "list", onscroll: () => this.scrolled(), onmouseover: explain, tabindex: "-1" },
			this.table,
			this.note,
		);
		rows.onChange = redraw;
		for (const name of ["beforeprint", "afterprint"])
			addEventListener(name, () => {
				this.isPrinted = name === "beforeprint";
				this.draw();
			});
		new ResizeObserver(redraw).observe(this.element);
	}

	/** Show other columns. */
	setColumns(columns) {
		const focused = this.head.contains(document.activeElement) && document.activeElement.textContent;
		const heads = columns.map(([name, content, sorted]) =>
			h(
				"th",
				{ class: `c-${name}`, "data-column": name, scope: "col", role: "columnheader", "aria-sort": sorted },
				content,
			),
		);
		this.head.replaceChildren(...heads);
		if (!focused) return;
		const [name] = focused.split(" ↓")[0].split(" ↑");
		[...this.head.querySelectorAll("button")].find((each) => each.textContent.startsWith(name))?.focus();
	}

	get rowHeight() {
		return Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 40;
	}

	// New rows move all others down: not where a person has scrolled away, or the next click would meet another row.
	get mayMove() {
		return this.element.scrollTop < this.rowHeight && !this.element.matches(":hover");
	}

	// Most of a scroll stays within the rows around. Drawn anew, they would cost a frame each time, and a click its target.
	scrolled() {
		const { first, last } = this.drawn;
		const { scrollTop, clientHeight } = this.element;
		const above = scrollTop / this.rowHeight - first;
		const below = last - (scrollTop + clientHeight) / this.rowHeight;
		const isAbove = first === 0 || above > MIN_ROWS_AROUND;
		const isBelow = last === this.rows.items.length || below > MIN_ROWS_AROUND;
		if (!(isAbove && isBelow)) this.draw();
	}

	draw() {
		const { items, hasMore } = this.rows;
		const height = this.rowHeight;
		const { scrollTop, clientHeight } = this.element;
		const first = this.isPrinted ? 0 : Math.max(0, Math.floor(scrollTop / height) - ROWS_AROUND);
		const end = this.isPrinted ? items.length : Math.ceil((scrollTop + clientHeight) / height) + ROWS_AROUND;
		const last = Math.min(items.length, end);
		this.drawn = { first, last };
		const refocus = this.rememberFocus();
		this.above.firstChild.style.height = `${first * height}px`;
		this.below.firstChild.style.height = `${(items.length - last) * height}px`;
		const rows = items.slice(first, last).map((item, index) => this.drawRow(item, first + index));
		this.note.replaceChildren(...(items.length || hasMore ? [] : [this.empty()]));
		this.body.replaceChildren(...(first ? [this.above] : []), ...rows, this.below);
		this.isRefocusing = true;
		refocus();
		this.isRefocusing = false;
		if (hasMore && !this.isPrinted && last > items.length - FETCH_AHEAD_ROWS) this.fetch();
	}

	// Drawing replaces the element that has the focus.
	rememberFocus() {
		const id = document.activeElement?.closest?.("tr")?.dataset.id;
		const control = document.activeElement?.dataset?.control;
		if (!(id && control)) return () => {};
		return () => {
			this.body.querySelector(`tr[data-id="${id}"] [data-control="${control}"]`)?.focus({ preventScroll: true });
		};
	}

	// Keys act on the row that has the focus. It is marked as it is: drawn anew, it would be gone before a click has ended.
	follow(focused) {
		const row = focused.closest("tr");
		if (this.isRefocusing || row.hasAttribute("data-current")) return;
		this.rows.current = this.rows.items.findIndex((item) => item.id === row.dataset.id);
		for (const each of this.body.children) each.toggleAttribute("data-current", each === row);
	}

	drawRow(item, index) {
		const { rows } = this;
		const properties = {
			role: "row",
			"data-id": item.id,
			"aria-rowindex": index + 2,
			"data-current": index === rows.current,
			"data-selected": rows.selected.has(item.id),
			"data-new": rows.added.has(item.id),
			onclick: (event) => {
				// A click that ends a selection of text opens nothing.
				if (event.target.closest("button, input, a") || String(getSelection())) return;
				rows.setCurrent(index);
				this.open(item);
			},
		};
		return h("tr", properties, this.cells(item));
	}

	async fetch() {
		this.isWanted = this.isFetching;
		if (this.isFetching) return;
		this.isFetching = true;
		try {
			await this.more();
		} catch (error) {
			if (this.rows.hasMore) this.note.replaceChildren(button("Try again", () => this.draw()));
			throw error;
		} finally {
			this.isFetching = false;
			if (this.isWanted) this.draw();
		}
	}

	/** Make another row current by a key, and return whether the key does that. */
	press(key) {
		const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 2);
		const all = this.rows.items.length;
		const steps = new Map([
			["j", 1],
			["k", -1],
			["ArrowDown", 1],
			["ArrowUp", -1],
			["PageDown", page],
			["PageUp", -page],
			["Home", -all],
			["End", all],
		]);
		if (!steps.has(key)) return false;
		this.move(steps.get(key));
		return true;
	}

	/** Make another row current, as many steps down as `step` says, and scroll to it. */
	move(step) {
		if (!this.rows.items.length) return;
		this.rows.setCurrent(this.rows.current + step);
		this.reveal();
		this.draw();
		this.control("open")?.focus({ preventScroll: true });
	}

	/** Scroll until the current row is in sight. */
	reveal() {
		const { rowHeight, element } = this;
		const top = this.rows.current * rowHeight;
		const { scrollTop, clientHeight } = element;
		if (top < scrollTop) element.scrollTop = top;
		else if (top + 2 * rowHeight > scrollTop + clientHeight) element.scrollTop = top + 2 * rowHeight - clientHeight;
	}

	/** A control of the current row, or of the row of an item. */
	control(name, id = null) {
		const row = id === null ? "tr[data-current]" : `tr[data-id="${id}"]`;
		return this.body.querySelector(`${row} [data-control="${name}"]`);
	}
}

// A text that is cut is told in whole.
function explain(event) {
	const cell = event.target.closest("td, th");
	if (cell && cell.scrollWidth > cell.clientWidth) cell.title = cell.textContent;
}
