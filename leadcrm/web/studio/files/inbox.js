// The view of the inbox: requests that were kept but are not leads.

import { formatBytes } from "./amounts.js";
import { api, session } from "./api.js";
import { archive, archiveButtons } from "./archive.js";
import { button, h, notice, pill, redraw, time } from "./dom.js";
import { emptyNote } from "./empty_note.js";
import { chipsOf } from "./filters.js";
import { Grid } from "./grid.js";
import { Pages } from "./pages.js";
import { place } from "./place.js";
import { replayButton } from "./replay.js";
import { Rows } from "./rows.js";

const ARCHIVED = "archived";
const PERIOD = ["from", "to"];
const STATES = ["failed", "invalid", "unverified", "unrouted", "conflict", "repeat", "spooled", ARCHIVED];

const COLUMNS = [
	["time", "Arrived"],
	["state", "State"],
	["error", "Why"],
	["size", "Body"],
	["from", "From"],
	["from", "Key"],
];

export class InboxView {
	/** `onReplayed` is called when there may be fewer requests. */
	constructor(openId, onReplayed) {
		Object.assign(this, { openId, onReplayed });
		this.rows = new Rows();
		// How often each key came again, of the rows that are loaded: its repeats are one row.
		this.repeats = new Map();
		this.pages = new Pages(this.rows, (parameters, signal) => this.ask(parameters, signal));
		this.grid = new Grid({
			kind: "inbox",
			label: "Requests that are no leads, newest first",
			columns: [...COLUMNS, ["action", h("span", { class: "visually-hidden" }, "Replay and archive")]],
			rows: this.rows,
			cells: (row) => this.cells(row),
			more: () => this.pages.loadMore(),
			open: (row) => openId(row.id),
			empty: () => this.empty(),
		});
		this.tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
		this.chips = h("div", { class: "chips" });
		const look = { class: "quiet", "aria-label": "Look again", title: "Look again" };
		const reload = button("↻", () => this.reload(), look);
		this.news = button("New requests — show", () => this.reload(), { class: "arrivals primary", hidden: true });
		this.parts = [
			h("h1", { class: "visually-hidden" }, "Inbox"),
			h("div", { class: "toolbar" }, this.tabs, h("span", { class: "spring" }), reload),
			this.chips,
			this.news,
			this.grid.element,
		];
	}

	get state() {
		return place.parameters.get("state");
	}

	/** The time in which they arrived, as the overview counts them. */
	get period() {
		return place.filter.filter(([name]) => PERIOD.includes(name));
	}

	show(container) {
		if (this.parts[0].parentNode !== container) container.replaceChildren(...this.parts);
		const tab = (state) =>
			button(state ?? "all", () => place.go({ state }), { "aria-pressed": String(this.state === state) });
		redraw(this.tabs, ...[null, ...STATES].map(tab));
		redraw(this.chips, ...chipsOf(this.period));
		this.chips.hidden = !this.period.length;
		if (this.loaded === JSON.stringify(this.question)) this.grid.draw();
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
				[
					replayButton(row, (done) => this.replayed(done), { "data-control": "replay" }),
					archiveButtons(row, this.state === ARCHIVED, () => this.archived()),
				]
					.flat()
					.filter(Boolean),
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
		const times = this.repeats.get(row.duplicateOf) ?? 1;
		const count = row.state === "repeat" && times > 1 && h("small", {}, ` ×${times}`);
		return [h("a", properties, pill(row.state, row.state)), count];
	}

	empty() {
		if (this.state === ARCHIVED) return emptyNote("Nothing here", "Nothing is archived.");
		if (this.period.length) return emptyNote("Nothing here", "No such request arrived in this time.");
		const text = this.state ? "No request is in this state." : "Every request that arrived has become a lead.";
		return emptyNote("Nothing here", text);
	}

	replayed(done) {
		const row = this.rows.items.find((item) => item.id === done.id);
		if (!row) return;
		const others = this.rows.items.filter((item) => item !== row);
		if (done.state === "stored") this.rows.replace(others, this.rows.hasMore);
		else this.rows.update({ ...row, state: done.state, error: done.error });
		this.onReplayed();
	}

	/** Ask for a page, and leave out the repeats of a key that has a row already. */
	async ask(parameters, signal) {
		const { rows, next } = await api.inbox(parameters, signal);
		if (!parameters.some(([name]) => name === "cursor")) {
			this.newest = rows[0]?.id;
			this.repeats.clear();
		}
		const isFirst = ({ state, duplicateOf }) => {
			if (state !== "repeat") return true;
			const times = (this.repeats.get(duplicateOf) ?? 0) + 1;
			this.repeats.set(duplicateOf, times);
			return times === 1;
		};
		return { items: rows.filter(isFirst), next };
	}

	get question() {
		const { state, period } = this;
		if (state === ARCHIVED) return [["archived", "only"], ...period];
		// What was put out of the inbox was counted too.
		const counted = period.length ? [["archived", "include"], ...period] : [];
		return [...(state ? [["state", state]] : []), ...counted];
	}

	/** Something was put out of the list, or brought back. */
	archived() {
		this.onReplayed();
		this.reload();
	}

	/** Look whether there are new requests, and show them where that moves no row under the pointer. */
	async look() {
		const page = await api.inbox([...this.question, ["limit", 1]]).catch(() => null);
		if (!page || this.pages.isLoading || page.rows[0]?.id === this.newest) return;
		if (this.grid.mayMove) this.reload();
		else this.news.hidden = false;
	}

	async reload() {
		this.loaded = JSON.stringify(this.question);
		this.news.hidden = true;
		try {
			await this.pages.load(this.question);
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
		if (key === "d" && row && this.state !== ARCHIVED && session.may("bulk")) {
			archive({ ids: [row.id] }, () => this.archived());
			return true;
		}
		if (key !== "Enter" || !row) return false;
		this.openId(row.id);
		return true;
	}
}

function reason(row) {
	if (row.error) return row.error;
	if (row.duplicateOf) return `same key as ${row.duplicateOf}`;
	return row.state === "spooled" ? "waits for the database" : "";
}
