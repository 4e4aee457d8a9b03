// The leads that are selected, and the bar that changes all of them at once.

import { choose } from "./chooser.js";
import { button, h, notice } from "./dom.js";
import { formatNumber } from "./format.js";
import { place } from "./place.js";

export class SelectionBar {
	/** `onApplied` is called after a change. */
	constructor(rows, onApplied) {
		Object.assign(this, { rows, onApplied, gathered: new Map(), clicked: null });
		this.all = h("input", {
			type: "checkbox",
			"aria-label": "Select all that are loaded",
			onchange: (event) => this.selectAll(event.target.checked),
		});
		this.text = h("strong");
		this.match = button("", () => this.gather(), { class: "quiet", hidden: true });
		const properties = {
			class: "selection",
			"data-needs": "bulk",
			role: "region",
			"aria-label": "Change the selected leads",
			hidden: true,
		};
		this.element = h(
			"div",
			properties,
			this.text,
			this.match,
			this.chooserButton("status", "Status"),
			this.chooserButton("assignedTo", "Assign to"),
			button("✕", () => this.select([]), { class: "quiet", "aria-label": "Clear the selection" }),
		);
	}

	chooserButton(name, label) {
		const save = (value) => this.apply({ [name]: value });
		const open = (event) => {
			const about = this.countText;
			choose({ anchor: event.currentTarget, name, about, save });
		};
		return button(label, open, { "aria-haspopup": "listbox", "data-change": name });
	}

	get countText() {
		const { size } = this.rows.selected;
		return size === 1 ? "1 selected lead" : `${formatNumber(size)} selected leads`;
	}

	/** Open the list of statuses, or of people, for the selected leads. */
	open(name) {
		this.element.querySelector(`[data-change="${name}"]`).click();
	}

	selectAll(isSelected) {
		this.select(isSelected ? this.rows.items.map((lead) => lead.id) : []);
	}

	select(ids) {
		this.gathered.clear();
		this.rows.selectOnly(ids);
		this.show();
	}

	/** Select or deselect a lead; with the shift key, all from the one that was clicked before. */
	click(id, isSelected, isRange) {
		const { items, selected } = this.rows;
		const places = [this.clicked, id].map((each) => items.findIndex((lead) => lead.id === each));
		this.clicked = id;
		if (!isRange || places.includes(-1)) {
			this.toggle(id, isSelected);
			return;
		}
		const range = items.slice(Math.min(...places), Math.max(...places) + 1).map((lead) => lead.id);
		this.rows.selectOnly(isSelected ? [...selected, ...range] : [...selected].filter((each) => !range.includes(each)));
		this.show();
	}

	toggle(id, isSelected = !this.rows.selected.has(id)) {
		this.rows.select(id, isSelected);
		this.show();
	}

	show() {
		const { items, selected, hasMore } = this.rows;
		const { size } = selected;
		this.all.checked = size > 0 && size >= items.length;
		this.all.indeterminate = size > 0 && !this.all.checked;
		this.element.hidden = !size;
		this.text.textContent = `${formatNumber(size)} selected`;
		this.match.hidden = !(this.all.checked && hasMore && !this.gathered.size);
		this.match.textContent = place.filter.length ? "Select all that match" : "Select all leads";
	}

	/** Select every lead that matches the filter, loaded or not. */
	async gather() {
		const { filter } = place;
		const isCurrent = () => JSON.stringify(filter) === JSON.stringify(place.filter) && this.rows.selected.size > 0;
		const onProgress = (count) => {
			this.match.textContent = `${formatNumber(count)} so far…`;
		};
		this.match.disabled = true;
		try {
			const { gather } = await import("./bulk.js");
			const gathered = await gather(filter, isCurrent, onProgress);
			if (!gathered) return;
			this.rows.selectOnly(gathered.keys());
			this.gathered = gathered;
		} catch (error) {
			notice(`Not all are selected. ${error.message}`, "error");
		} finally {
			this.match.disabled = false;
			this.show();
		}
	}

	/** Change the selected leads, and return null once that is done, or why it is not. */
	async apply(changes) {
		const held = new Map(this.rows.items.map((lead) => [lead.id, lead]));
		const before = [...this.rows.selected].map((id) => held.get(id) ?? this.gathered.get(id)).filter(Boolean);
		const onProgress = (count) => {
			this.text.textContent = `${formatNumber(count)} of ${formatNumber(before.length)}…`;
		};
		const { applyTo } = await import("./bulk.js");
		return applyTo(before, changes, { onProgress, onApplied: this.onApplied });
	}
}
