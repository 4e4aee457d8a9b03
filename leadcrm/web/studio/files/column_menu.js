// The menu in which columns are chosen, put in order and given widths.

import { arrangement, COLUMNS } from "./columns.js";
import { button, h } from "./dom.js";
import { menuPanel } from "./menu.js";
import { setWidth } from "./resize.js";

/** Make the menu of a button, and open it. `onChange` is called after each change. */
export function openColumnMenu(menu, opener, table, onChange) {
	const panel = h("div", { class: "column-menu" });

	function change(changes, focused) {
		arrangement.keep(changes);
		onChange();
		draw();
		panel.querySelector(`[data-control="${focused}"]`)?.focus();
	}

	function draw() {
		const { columns } = arrangement;
		const hidden = Object.keys(COLUMNS).filter((name) => !columns.includes(name));
		const compact = h("input", {
			type: "checkbox",
			checked: arrangement.isCompact,
			"data-control": "compact",
			onchange: (event) => change({ isCompact: event.target.checked }, "compact"),
		});
		panel.replaceChildren(
			h("ul", {}, [...columns, ...hidden].map(line)),
			h("label", {}, compact, " Compact rows"),
			button("As at first", () => change({ columns: null, widths: {}, isCompact: false }, "first"), {
				"data-control": "first",
			}),
		);
	}

	function line(name) {
		const { columns } = arrangement;
		const { label } = COLUMNS[name];
		const place = columns.indexOf(name);
		const check = h("input", {
			type: "checkbox",
			checked: place >= 0,
			disabled: place >= 0 && columns.length === 1,
			"data-control": name,
			onchange: () =>
				change({ columns: place < 0 ? [...columns, name] : columns.filter((each) => each !== name) }, name),
		});
		const step = (text, word, by) => {
			const target = place + by;
			const properties = {
				class: "quiet",
				"aria-label": `Move ${label} ${word}`,
				title: `Move ${word}`,
				disabled: place < 0 || target < 0 || target >= columns.length,
				"data-control": `${name}${by}`,
			};
			return button(text, () => change({ columns: swapped(columns, place, target) }, `${name}${by}`), properties);
		};
		const width = h("input", {
			type: "number",
			min: 48,
			max: 1200,
			placeholder: "width",
			value: arrangement.widths[name] ?? "",
			disabled: place < 0,
			title: "Width in pixels",
			"aria-label": `Width of ${label} in pixels`,
			"data-control": `${name}-width`,
			onchange: ({ target }) => {
				setWidth(table, name, Number(target.value) || null);
				change({}, `${name}-width`);
			},
		});
		return h("li", {}, h("label", {}, check, ` ${label}`), width, step("↑", "left", -1), step("↓", "right", 1));
	}

	menuPanel(menu, opener, panel, draw);
}

function swapped(list, one, other) {
	const copy = [...list];
	[copy[one], copy[other]] = [copy[other], copy[one]];
	return copy;
}
