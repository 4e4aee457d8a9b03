// The view of the inbox: requests that were kept but are not leads.

import { api } from "./api.js";
import { button, emptyNote, h, notice, pill, time } from "./dom.js";
import { formatBytes } from "./format.js";
import { Grid } from "./grid.js";
import { Pages } from "./pages.js";
import { place } from "./place.js";
import { replayButton } from "./replay.js";
import { Rows } from "./rows.js";

const STATES = ["failed", "invalid", "conflict", "repeat", "spooled"];

const COLUMNS = [
	["time", "Arrived"],
	["state", "State"],
	["error", "Why"],
	["size", "Body"],
	["from", "From"],
	["from", "Key"],
];

export class InboxView {
	constructor(openId) {
		this.openId = openId;
		this.rows = new Rows();
		this.pages = new Pages(this.rows, askForRows);
		this.grid = new Grid({
			kind: "inbox",
			label: "Requests that are no leads, newest first",
			columns: [...COLUMNS, ["action", h("span", { class: "visually-hidden" }, "Replay")]],
			rows: this.rows,
			cells: (row) => this.cells(row),
			more: () => this.pages.loadMore(),
			open: (row) => openId(row.id),
			empty: () => this.empty(),
		});
		this.tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
		const look = { class: "quiet", "aria-label": "Look again", title: "Look again" };
		const reload = button("↻", () => this.reload(), look);
		this.parts = [
			h("h1", { class: "visually-hidden" }, "Inbox"),
			h("div", { class: "toolbar" }, this.tabs, h("span", { class: "spring" }), reload),
			this.grid.element,
		];
	}

	get state() {
		return place.parameters.get("state");
	}

	show(container) {
		container.replaceChildren(...this.parts);
		const tab = (state) =>
			button(state ?? "all", () => place.go({ state }), { "aria-pressed": String(this.state === state) });
		this.tabs.replaceChildren(...[null, ...STATES].map(tab));
		if (this.loadedState === this.state) this.grid.draw();
		else this.reload();
	}

	cells(row) {
		const cell = (column, content) => h("td", { class: `c-${column}`, role: "cell" }, content);
		return [
			cell("time", time(row.receivedAt)),
			cell("state", this.link(row)),
			cell("error", reason(row)),
			cell("size", formatBytes(row.bodyBytes)),
			cell("from", row.remoteAddr),
			cell("from", row.idempotencyKey),
			cell(
				"action",
				replayButton(row, (done) => this.replayed(done), { "data-control": "replay" }),
			),
		];
	}

	link(row) {
		const properties = {
			href: `?view=inbox&open=${row.id}`,
			"data-control": "open",
			"aria-label": `Open the ${row.state} request`,
			onclick: (event) => {
				event.preventDefault();
				this.openId(row.id);
			},
		};
		return h("a", properties, pill(row.state, row.state));
	}

	empty() {
		const text = this.state ? "No request is in this state." : "Every request that arrived has become a lead.";
		return emptyNote("Nothing here", text);
	}

	replayed(done) {
		const row = this.rows.items.find((item) => item.id === done.id);
		if (!row) return;
		const others = this.rows.items.filter((item) => item !== row);
		if (done.state === "stored") this.rows.replace(others, this.rows.hasMore);
		else this.rows.update({ ...row, state: done.state, error: done.error });
		this.onReplayed?.();
	}

	async reload() {
		this.loadedState = this.state;
		try {
			await this.pages.load(this.state ? [["state", this.state]] : []);
		} catch (error) {
			notice(error.message, "error");
		}
	}

	/** Open the request that is so many steps down the list. */
	step(step) {
		this.grid.move(step);
		if (this.rows.currentItem) this.openId(this.rows.currentItem.id, { replace: true });
	}

	key(key) {
		const row = this.rows.currentItem;
		if (this.grid.press(key)) {
			if (place.open) this.step(0);
			return true;
		}
		if (key !== "Enter" || !row) return false;
		this.openId(row.id);
		return true;
	}
}

async function askForRows(parameters, signal) {
	const { rows, next } = await api.inbox(parameters, signal);
	return { items: rows, next };
}

function reason(row) {
	if (row.error) return row.error;
	if (row.duplicateOf) return `same key as ${row.duplicateOf}`;
	return row.state === "spooled" ? "waits for the database" : "";
}
