// Changing all selected leads at once.

import { api } from "./api.js";
import { button, h, notice } from "./dom.js";
import { suggest } from "./edit.js";
import { formatNumber } from "./format.js";

// As many as one request may change.
const MAX_SELECTED = 1000;

export class SelectionBar {
	/** `onApplied` is called after a change. */
	constructor(rows, onApplied) {
		Object.assign(this, { rows, onApplied });
		this.all = h("input", {
			type: "checkbox",
			"aria-label": "Select all that are loaded",
			onchange: (event) => this.selectAll(event.target.checked),
		});
		this.element = h("div", {
			class: "selection",
			role: "region",
			"aria-label": "Change the selected leads",
			hidden: true,
		});
	}

	selectAll(isSelected) {
		this.select(isSelected ? this.rows.items.slice(0, MAX_SELECTED).map((lead) => lead.id) : []);
	}

	select(ids) {
		this.rows.selectOnly(ids);
		this.show();
	}

	toggle(id, isSelected = !this.rows.selected.has(id)) {
		this.rows.select(id, isSelected);
		this.show();
	}

	show() {
		const { size } = this.rows.selected;
		this.all.checked = size > 0 && size >= Math.min(MAX_SELECTED, this.rows.items.length);
		this.all.indeterminate = size > 0 && !this.all.checked;
		this.element.hidden = !size;
		if (!size) this.element.replaceChildren();
		else if (!this.element.childElementCount) this.element.replaceChildren(...this.controls());
		if (size) this.element.querySelector("strong").textContent = `${formatNumber(size)} selected`;
	}

	controls() {
		const field = (name, label, placeholder) =>
			h("input", { name, placeholder, "aria-label": label, list: suggest(name), maxlength: 200 });
		return [
			h("strong"),
			field("status", "New status", "Status"),
			field("assignedTo", "Assign to", "Assign to"),
			button("Apply", () => this.apply(), { class: "primary" }),
			button("✕", () => this.select([]), { class: "quiet", "aria-label": "Clear the selection" }),
		];
	}

	async apply() {
		const inputs = [...this.element.querySelectorAll("input")];
		const filled = inputs.filter((input) => input.value.trim());
		if (!filled.length) {
			inputs[0].focus();
			return;
		}
		try {
			const changes = Object.fromEntries(filled.map((input) => [input.name, input.value.trim()]));
			const done = await api.changeMany([...this.rows.selected], changes);
			notice(`${formatNumber(done.changed)} changed`);
			this.onApplied();
		} catch (error) {
			notice(error.message, "error");
		}
	}
}
