// A table of any length: only the rows in sight are in the page, and the next page is fetched before it is needed.

import { h } from "./dom.js";

const BEFORE_AND_AFTER = 12;

export class Grid {
  /** `row` makes a row's cells of an item; `more` fetches the next items, `open` opens one. */
  constructor({ kind, label, columns, row, more, open, empty }) {
    Object.assign(this, { row, more, open, empty });
    this.items = [];
    this.hasMore = true;
    this.current = -1;
    this.selected = new Set();
    this.fresh = new Set();
    this.above = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
    this.below = this.above.cloneNode(true);
    this.body = h("tbody", { role: "rowgroup" });
    const heads = columns.map(([name, text]) =>
      h("th", { class: `c-${name}`, scope: "col", role: "columnheader" }, text instanceof Node ? text : String(text)));
    const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
    this.table = h("table", { class: "grid", "data-kind": kind, role: "table", "aria-label": label, "aria-rowcount": "-1" },
      head, this.body);
    this.note = h("div");
    this.element = h("div", { class: "list", onscroll: () => this.draw(), onedited: () => this.draw(), tabindex: "-1" }, this.table, this.note);
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.element);
  }

  replace(items, hasMore) {
    this.items = items;
    this.hasMore = hasMore;
    this.current = Math.min(this.current, items.length - 1);
    this.draw();
  }

  append(items, hasMore) {
    this.items.push(...items);
    this.hasMore = hasMore;
    this.draw();
  }

  prepend(items) {
    const known = new Set(this.items.map((item) => item.id));
    const added = items.filter((item) => !known.has(item.id));
    this.items.unshift(...added);
    for (const item of added) this.fresh.add(item.id);
    setTimeout(() => added.forEach((item) => this.fresh.delete(item.id)), 3000);
    if (this.current >= 0) this.current += added.length;
    this.draw();
  }

  update(item) {
    const index = this.items.findIndex((other) => other.id === item.id);
    if (index >= 0) {
      this.items[index] = item;
      this.draw();
    }
  }

  get height() {
    return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 40;
  }

  get atTop() { return this.element.scrollTop < this.height; }

  draw() {
    if (this.element.querySelector(".editing")) return; // what somebody types must not vanish under their hands
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / this.height) - BEFORE_AND_AFTER);
    const last = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / this.height) + BEFORE_AND_AFTER);
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    const control = document.activeElement?.dataset?.control;
    this.above.firstChild.style.height = `${first * this.height}px`;
    this.below.firstChild.style.height = `${(this.items.length - last) * this.height}px`;
    const rows = this.items.slice(first, last).map((item, index) => this.draw_row(item, first + index));
    this.note.replaceChildren(...(this.items.length || this.hasMore ? [] : [this.empty()]));
    this.body.replaceChildren(...(first ? [this.above] : []), ...rows, this.below);
    if (focused && control) {
      this.body.querySelector(`tr[data-id="${focused}"] [data-control="${control}"]`)?.focus({ preventScroll: true });
    }
    if (this.hasMore && last > this.items.length - 60) this.fetch();
  }

  draw_row(item, index) {
    return h("tr", {
      role: "row", "data-id": item.id, "aria-rowindex": index + 2, "data-current": index === this.current,
      "data-selected": this.selected.has(item.id), "data-new": this.fresh.has(item.id),
      onclick: (event) => {
        if (event.target.closest("button, input, a")) return;
        this.current = index;
        this.open(item);
        this.draw();
      },
    }, this.row(item));
  }

  async fetch() {
    if (this.fetching) return;
    this.fetching = true;
    try {
      await this.more();
    } finally {
      this.fetching = false;
    }
  }

  move(step) {
    if (!this.items.length) return;
    this.current = Math.max(0, Math.min(this.items.length - 1, this.current + step));
    const top = this.current * this.height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + 2 * this.height > scrollTop + clientHeight) this.element.scrollTop = top + 2 * this.height - clientHeight;
    this.draw();
    this.body.querySelector("tr[data-current] [data-control='open']")?.focus({ preventScroll: true });
  }

  get currentItem() { return this.items[this.current] ?? null; }

  control(name) { return this.body.querySelector(`tr[data-current] [data-control="${name}"]`); }
}
