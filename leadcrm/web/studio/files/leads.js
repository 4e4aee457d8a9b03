// The view of the leads: search, filters, arrivals, changes in place and in bulk, export.

import { api, session } from "./api.js";
import { arrangement, COLUMNS, columnHead } from "./columns.js";
import { button, h, notice } from "./dom.js";
import { edit, editButton } from "./edit.js";
import { FilterBar } from "./filters.js";
import { formatNumber, fullName, reachText } from "./format.js";
import { Grid } from "./grid.js";
import { lazyMenu } from "./lazy.js";
import { LeadList } from "./lead_list.js";
import { NEWEST_FIRST, place } from "./place.js";
import { Rows } from "./rows.js";
import { SelectionBar } from "./selection.js";
import { countText, ViewTabs } from "./views.js";
import { applyWidths, widthHandle } from "./widths.js";

const TYPING_PAUSE_MS = 200;
const WAITING_MS = 400;
const MAX_ASKED = 100;
const MINUTE_MS = 60_000;

export class LeadsView {
	constructor(openLead) {
		this.openLead = openLead;
		this.rows = new Rows();
		// How many other leads the person of a lead has, by id.
		this.others = new Map();
		this.list = new LeadList(this.rows);
		this.selection = new SelectionBar(this.rows, () => this.reload());
		this.grid = new Grid({
			kind: "leads",
			label: "Leads",
			columns: [],
			rows: this.rows,
			cells: (lead) => this.cells(lead),
			more: () => this.loadMore(),
			open: (lead) => openLead(lead.id),
			empty: () => this.emptyNote(),
		});
		this.filters = new FilterBar();
		this.views = new ViewTabs(() => this.arrange());
		this.search = h("input", {
			type: "search",
			id: "search",
			placeholder: "Name, email, phone or any id",
			"aria-label": "Search leads",
			oninput: () => this.searchSoon(),
		});
		this.count = h("span", { class: "count", role: "status" });
		this.state = h("p", { class: "state", role: "status", hidden: true });
		this.arrivals = button("", () => this.showArrivals(), { class: "arrivals primary", hidden: true });
		this.parts = this.layOut();
		// With the time a call becomes due, and what came today came yesterday.
		setInterval(() => this.grid.element.isConnected && this.grid.draw(), MINUTE_MS);
	}

	layOut() {
		const bar = h(
			"div",
			{ class: "toolbar leads-bar" },
			h("div", { class: "search" }, this.search, h("kbd", { "aria-hidden": "true" }, "/")),
			this.filters.button,
			this.count,
			h("span", { class: "spring" }),
			button("Take next", () => this.takeNext(), {
				title: "The oldest lead that nobody has (n)",
				"data-needs": "work",
			}),
			lazyMenu(
				"Columns",
				async () => {
					const { openColumnMenu } = await import("./column_menu.js");
					return (menu, opener) => openColumnMenu(menu, opener, this.grid.table, () => this.arrange());
				},
				{ class: "menu wide-only" },
			),
			lazyMenu("Export", async () => (await import("./export.js")).openExportMenu, { "data-needs": "export" }),
		);
		return [
			h("h1", { class: "visually-hidden" }, "Leads"),
			bar,
			this.views.element,
			this.filters.form,
			this.filters.chips,
			this.state,
			this.arrivals,
			this.grid.element,
			this.selection.element,
		];
	}

	show(container) {
		// Moved within the page, a field would lose the focus that somebody types with.
		if (this.parts[0].parentNode !== container) container.replaceChildren(...this.parts);
		if (document.activeElement !== this.search) this.search.value = place.parameters.get("q") || "";
		this.filters.show();
		this.views.show();
		this.views.countSoon();
		this.rows.setCurrentItem(place.open);
		this.arrange();
		const filter = JSON.stringify([place.filter, place.sort]);
		if (filter === this.loadedFilter) return;
		this.loadedFilter = filter;
		this.reload();
	}

	/** Show the columns and rows as the person has arranged them. */
	arrange() {
		const isSortable = !place.parameters.get("q");
		const heads = arrangement.columns.map((name) => {
			const onSort = (sort) => place.go({ sort });
			const { content, sorted } = columnHead(name, { current: place.sort, isSortable, onSort });
			return [name, [content, widthHandle(name, this.grid.table, () => this.arrange())], sorted];
		});
		document.documentElement.dataset.rows = arrangement.isCompact ? "compact" : "roomy";
		this.grid.table.classList.toggle("own", arrangement.isOwn);
		this.grid.table.style.setProperty("--shown", arrangement.columns.length);
		this.grid.setColumns([["check", this.selection.all], ...heads]);
		applyWidths(this.grid.table);
		this.grid.draw();
	}

	cells(lead) {
		const cell = (column, content) => h("td", { class: `c-${column}`, role: "cell" }, content ?? "");
		const columns = arrangement.columns.map((name) => cell(name, COLUMNS[name].cell(lead, this)));
		return [cell("check", this.checkbox(lead)), ...columns];
	}

	/** A value that is changed where it stands. */
	editable(lead, field) {
		return editButton(lead, field, this.reactions(lead, field));
	}

	reactions(lead, field) {
		return {
			onChanged: (changed) => this.changed(changed),
			onClosed: (hadFocus) => hadFocus && this.grid.control(field, lead.id)?.focus({ preventScroll: true }),
		};
	}

	checkbox(lead) {
		return h("input", {
			type: "checkbox",
			"data-control": "check",
			"aria-label": `Select ${titleOf(lead)}`,
			checked: this.rows.selected.has(lead.id),
			onclick: (event) => this.selection.click(lead.id, event.target.checked, event.shiftKey),
		});
	}

	link(lead) {
		const open = (event) => {
			if (event.metaKey || event.ctrlKey) return;
			event.preventDefault();
			this.openLead(lead.id);
		};
		return h("a", { href: `?open=${lead.id}`, "data-control": "open", onclick: open }, titleOf(lead));
	}

	searchSoon() {
		clearTimeout(this.typing);
		const search = () => place.view === "leads" && place.go({ q: this.search.value || null }, { replace: true });
		this.typing = setTimeout(search, TYPING_PAUSE_MS);
	}

	async reload() {
		this.arrivals.hidden = true;
		const waiting = setTimeout(() => this.tellState("Loading…"), WAITING_MS);
		try {
			this.total = null;
			const sort = place.sort === NEWEST_FIRST ? [] : [["sort", place.sort]];
			const loading = this.list.load([...place.filter, ...sort]);
			this.selection.show();
			if (!(await loading)) return;
			this.tellState(null);
			this.grid.element.scrollTop = 0;
			this.rows.setCurrentItem(place.open);
			this.showLoaded();
			this.countAll();
		} catch (error) {
			const retry = button("Try again", () => this.reload(), { class: "quiet" });
			this.tellState("What is shown is not the answer: it could not be loaded.", retry);
			notice(error.message, "error");
		} finally {
			clearTimeout(waiting);
		}
		if (this.list.hasNews) this.offerArrivals();
	}

	emptyNote() {
		const note = h("div");
		const { searched } = this.list;
		import("./empty_list.js").then(({ noteOf }) => note.replaceChildren(noteOf(place.filter, searched)));
		return note;
	}

	/** Tell that the rows are not what was asked for; null takes that back. */
	tellState(...text) {
		const isAnswer = text[0] === null;
		this.state.hidden = isAnswer;
		this.state.replaceChildren(...(isAnswer ? [] : text));
		this.grid.element.classList.toggle("stale", !isAnswer);
		if (!isAnswer) this.count.textContent = "";
	}

	async loadMore() {
		if (await this.list.loadMore()) this.showLoaded();
	}

	showLoaded() {
		const { items, hasMore } = this.rows;
		const total = this.total ?? { leads: items.length, exact: true };
		const all = total.leads === 1 ? "1 lead" : `${countText(total)} leads`;
		this.count.textContent = hasMore && !this.total ? `${formatNumber(items.length)} loaded, more below` : all;
		this.count.append(reachText(this.list.searched));
		this.selection.show();
		this.markOthers();
	}

	/** Mark the leads whose person has others. */
	async markOthers() {
		const { items } = this.rows;
		const unknown = items.filter(({ id }) => !this.others.has(id)).map(({ id }) => id);
		for (const id of unknown) this.others.set(id, 0);
		for (let start = 0; start < unknown.length; start += MAX_ASKED) {
			const answer = await api.others(unknown.slice(start, start + MAX_ASKED)).catch(() => ({ others: [] }));
			for (const { id, leads } of answer.others) this.others.set(id, leads);
			if (answer.others.length) this.grid.draw();
		}
	}

	/** Tell how many there are, where the list is longer than what is loaded. */
	async countAll() {
		const { filter } = place;
		if (!this.rows.hasMore || place.parameters.get("q")) return;
		const total = await api.count(filter).catch(() => null);
		if (JSON.stringify(filter) !== JSON.stringify(place.filter) || !this.rows.hasMore) return;
		this.total = total;
		this.showLoaded();
	}

	async arrived(event) {
		this.views.countSoon();
		if (await this.list.announce(event)) this.offerArrivals();
	}

	offerArrivals() {
		if (this.list.isLoading) return;
		if (this.grid.mayMove && !this.list.hasMissed && place.sort === NEWEST_FIRST) {
			this.showArrivals();
			return;
		}
		const count = this.list.hasMissed ? "More" : formatNumber(this.list.waiting.length);
		this.arrivals.textContent = `${count} new — show`;
		this.arrivals.hidden = false;
	}

	showArrivals() {
		// In another order they belong somewhere else than at the top.
		if (this.list.hasMissed || place.sort !== NEWEST_FIRST) {
			this.reload();
			return;
		}
		this.arrivals.hidden = true;
		this.grid.element.scrollTop = 0;
		if (this.total?.exact) this.total.leads += this.list.waiting.length;
		this.list.showWaiting();
		this.showLoaded();
	}

	/** Take the oldest lead that nobody has, and open it. */
	async takeNext() {
		if (!session.actor) {
			notice("Sign in with your name first: the lead will be yours.", "error");
			return;
		}
		try {
			const { lead } = await api.takeNext();
			if (!lead) notice("Every lead has somebody.");
			else {
				this.changed(lead);
				this.openLead(lead.id);
			}
		} catch (error) {
			notice(error.message, "error");
		}
		this.views.countSoon();
	}

	/** Leads may have arrived or changed unannounced. */
	missed() {
		if (this.grid.mayMove && !this.rows.selected.size) {
			this.reload();
			return;
		}
		this.list.hasMissed = true;
		this.offerArrivals();
	}

	async othersChanged({ ids, more }) {
		this.views.countSoon();
		if (more) {
			this.missed();
			return;
		}
		const erased = await this.list.refresh(ids);
		if (!erased) return;
		if (this.total) this.total.leads -= erased;
		this.showLoaded();
	}

	changed(lead) {
		this.rows.update(lead);
		this.onChanged?.(lead);
	}

	/** Open the lead that is so many steps down the list. */
	step(step) {
		this.grid.move(step);
		if (place.open && this.rows.currentItem) this.openLead(this.rows.currentItem.id, { replace: true });
	}

	key(key) {
		if (this.grid.press(key)) {
			// What is open is the lead that is marked: a key must never change another one than the one shown.
			if (place.open) this.step(0);
			return true;
		}
		const lead = this.rows.currentItem;
		if (key === "n") {
			this.takeNext();
			return true;
		}
		const fields = { e: "status", a: "assignedTo" };
		if ((key === "E" || key === "A") && this.rows.selected.size) this.selection.open(fields[key.toLowerCase()]);
		else if (!lead) return false;
		else if (key === "Enter") this.openLead(lead.id);
		else if (fields[key]) this.edit(lead, fields[key]);
		else if (key === "x") this.selection.toggle(lead.id);
		else return false;
		return true;
	}

	edit(lead, name) {
		this.grid.reveal();
		this.grid.draw();
		const anchor = this.grid.control(name) ?? this.grid.element;
		edit({ lead, name, anchor, ...this.reactions(lead, name) });
	}
}

const titleOf = (lead) => fullName(lead) || lead.email || lead.phone || "no name";
