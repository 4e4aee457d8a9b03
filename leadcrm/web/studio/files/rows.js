// The rows of a list, apart from how they are drawn: what is loaded, which row is current, selected or new.

import { isOlder } from "./api.js";

const NEW_MS = 3000;

export class Rows {
	constructor() {
		// Called after every change: the grid draws then.
		this.onChange = () => {};
		this.items = [];
		this.hasMore = true;
		this.current = -1;
		this.selected = new Set();
		this.added = new Set();
	}

	get currentItem() {
		return this.items[this.current] ?? null;
	}

	/** Hold other rows. The current row stays current where it is among them. */
	replace(items, hasMore) {
		const id = this.currentItem?.id;
		const index = items.findIndex((item) => item.id === id);
		this.items = items;
		this.hasMore = hasMore;
		this.current = index >= 0 ? index : Math.min(this.current, items.length - 1);
		this.onChange();
	}

	append(items, hasMore) {
		this.items.push(...this.unknown(items));
		this.hasMore = hasMore;
		this.onChange();
	}

	/** Add rows at the top. The current row stays current, and the new ones are marked for a moment. */
	prepend(items) {
		const added = this.unknown(items);
		this.items.unshift(...added);
		for (const { id } of added) this.added.add(id);
		setTimeout(() => {
			for (const { id } of added) this.added.delete(id);
		}, NEW_MS);
		if (this.current >= 0) this.current += added.length;
		this.onChange();
	}

	// A row may come twice: in a page and by an announcement.
	unknown(items) {
		const known = new Set(this.items.map((item) => item.id));
		return items.filter((item) => !known.has(item.id));
	}

	/** Hold an item as it is now; an answer that comes late changes nothing. */
	update(item) {
		const index = this.items.findIndex((other) => other.id === item.id);
		if (index < 0 || isOlder(item, this.items[index])) return;
		this.items[index] = item;
		this.onChange();
	}

	remove(id) {
		this.selected.delete(id);
		this.replace(
			this.items.filter((item) => item.id !== id),
			this.hasMore,
		);
	}

	setCurrent(index) {
		this.current = Math.max(0, Math.min(this.items.length - 1, index));
		this.onChange();
	}

	/** Make the row of an item current, and no row where the item has none; null leaves the current row. */
	setCurrentItem(id) {
		if (id === null) return;
		const index = this.items.findIndex((item) => item.id === id);
		if (index === this.current) return;
		this.current = index;
		this.onChange();
	}

	select(id, isSelected) {
		if (isSelected) this.selected.add(id);
		else this.selected.delete(id);
		this.onChange();
	}

	selectOnly(ids) {
		this.selected = new Set(ids);
		this.onChange();
	}
}
