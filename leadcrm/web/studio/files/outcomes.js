// What became of leads, by agent, offer and other columns: their statuses with rates, and the time to the first touch.

import { formatSeconds, formatShare } from "./amounts.js";
import { api } from "./api.js";
import { choices } from "./changes.js";
import { h, notice } from "./dom.js";
import { formatNumber } from "./format.js";
import { LABELS, place } from "./place.js";

const COLUMNS = ["assignedTo", "offer", "marker", "creo", "sourcetype", "source", "country"];
const MAX_ROWS = 10;

export class OutcomeTable {
	constructor() {
		this.chosen = h(
			"select",
			{ "aria-label": "Outcomes by", onchange: () => place.go({ by: this.chosen.value }, { replace: true }) },
			COLUMNS.map((name) => h("option", { value: name }, LABELS[name])),
		);
		this.table = h("div", { class: "scroll outcomes", tabindex: "0", role: "region", "aria-label": "Outcomes" });
		this.element = h(
			"section",
			{ class: "card chart", "aria-label": "What became of them" },
			h("div", { class: "chart-head" }, h("h2", {}, "What became of them, by"), this.chosen),
			this.table,
		);
		this.isWhole = false;
	}

	/** Show the outcomes of a period; `filter` is that of the numbers, both ends included. */
	async show(filter) {
		const by = COLUMNS.includes(place.parameters.get("by")) ? place.parameters.get("by") : COLUMNS[0];
		this.chosen.value = by;
		this.filter = filter;
		try {
			const { rows } = await api.outcomes([...filter, ["by", by]]);
			if (this.filter === filter) this.draw(by, rows);
		} catch (error) {
			notice(error.message, "error");
		}
	}

	draw(by, rows) {
		const used = new Set(rows.flatMap((row) => Object.keys(row.statuses)));
		const known = choices.statuses.map(({ name }) => name).filter((name) => used.has(name));
		const statuses = [...known, ...[...used].filter((name) => !known.includes(name)).sort()];
		const won = choices.statuses.filter(({ meaning }) => meaning === "won").map(({ name }) => name);
		const heads = [LABELS[by], "Leads", ...statuses, "Won share", "First touch"];
		const shown = this.isWhole ? rows : rows.slice(0, MAX_ROWS);
		const more = () => {
			this.isWhole = true;
			this.draw(by, rows);
		};
		this.table.replaceChildren(
			h(
				"table",
				{ class: "data" },
				h(
					"thead",
					{},
					h(
						"tr",
						{},
						heads.map((head) => h("th", { scope: "col" }, head)),
					),
				),
				h(
					"tbody",
					{},
					shown.map((row) => this.line(by, row, statuses, won)),
				),
			),
			...(rows.length ? [] : [h("p", { class: "muted" }, "Nothing yet.")]),
			...(shown.length < rows.length
				? [h("button", { type: "button", onclick: more }, `Show all ${rows.length}`)]
				: []),
		);
	}

	line(by, row, statuses, won) {
		const value = row.value ?? "";
		const text = value || (by === "assignedTo" ? "nobody" : "none");
		const link = (content, extra = []) => {
			const query = new URLSearchParams([...this.filter.filter(([name]) => name !== by), [by, value], ...extra]);
			return h("a", { href: `?${query}`, "data-go": true }, content);
		};
		const cell = (status) => {
			const count = row.statuses[status] ?? 0;
			const counted = count ? link(formatNumber(count), [["status", status]]) : "0";
			return h("td", {}, counted, count > 0 && h("small", {}, ` ${formatShare(count, row.leads)}`));
		};
		const wins = won.reduce((sum, name) => sum + (row.statuses[name] ?? 0), 0);
		const touch = row.touched ? formatSeconds(row.firstTouchSeconds) : "never";
		const title = `${formatNumber(row.touched)} of ${formatNumber(row.leads)} were touched; the median of the time to that`;
		return h(
			"tr",
			{},
			h("th", { scope: "row", title: text }, link(text)),
			h("td", {}, link(formatNumber(row.leads))),
			statuses.map(cell),
			h("td", {}, formatShare(wins, row.leads)),
			h("td", { title }, touch),
		);
	}
}
