// The table of leads: search, filters, live arrivals, changes in place and in bulk, export of what is shown.

import { api } from "./api.js";
import { h, nameOf, notice, number, time } from "./dom.js";
import { editable, learn, suggestions } from "./edit.js";
import { Grid } from "./grid.js";
import { FILTERS, LABELS, place } from "./place.js";

const PAGE = 100;
const EXACT = ["status", "assignedTo", "country", "offer", "marker", "domain", "sourcetype", "lang"];

// A date is a whole day of UTC, as the server counts it.
function momentOf(text, isEnd = false) {
  return Date.parse(text) + (isEnd && /^\d{4}-\d{2}-\d{2}$/.test(text) ? 86400000 : 0);
}

export class LeadsView {
  constructor(openLead) {
    this.openLead = openLead;
    this.cursor = null;
    this.waiting = [];
    const all = h("input", { type: "checkbox", "aria-label": "Select all that are loaded", onchange: () => this.selectAll(all.checked) });
    this.all = all;
    this.grid = new Grid({
      kind: "leads",
      label: "Leads, newest first",
      columns: [["check", all], ["time", "Arrived"], ["status", "Status"], ["name", "Name"], ["email", "Email"],
        ["phone", "Phone"], ["country", "Country"], ["offer", "Offer"], ["marker", "Marker"], ["source", "Source"],
        ["assigned", "Assigned to"]],
      row: (lead) => this.row(lead),
      more: () => this.more(),
      open: (lead) => openLead(lead.id),
      empty: () => this.empty(),
    });
    this.search = h("input", {
      type: "search", id: "search", placeholder: "Name, email or phone", "aria-label": "Search leads",
      oninput: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => place.go({ q: this.search.value || null }, { replace: true }), 200);
      },
    });
    this.filtersButton = h("button", { type: "button", "aria-expanded": "false", "aria-controls": "filters", onclick: () => this.toggleFilters() }, "Filters");
    this.filters = h("form", { class: "filters", id: "filters", hidden: true, "aria-label": "Filters", onsubmit: (event) => event.preventDefault() });
    this.chips = h("div", { class: "chips" });
    this.count = h("span", { class: "count", role: "status" });
    this.arrivals = h("button", { class: "arrivals primary", type: "button", hidden: true, onclick: () => this.showWaiting() });
    this.bulk = h("div", { class: "selection", role: "region", "aria-label": "Change the selected leads", hidden: true });
    this.element = h("div", { class: "leads", role: "presentation" });
    this.parts = [
      h("h1", { class: "visually-hidden" }, "Leads"),
      h("div", { class: "toolbar leads-bar" },
        h("div", { class: "search" }, this.search, h("kbd", { "aria-hidden": "true" }, "/")),
        this.filtersButton, this.count, h("span", { class: "spring" }), this.exportMenu()),
      this.filters, this.chips, this.arrivals, this.grid.element, this.bulk,
    ];
    this.makeFilters();
  }

  show(container) {
    container.replaceChildren(...this.parts);
    const filter = JSON.stringify(place.filter);
    if (document.activeElement !== this.search) this.search.value = place.parameters.get("q") || "";
    this.showFilter();
    if (filter !== this.shownFilter) {
      this.shownFilter = filter;
      this.reload();
    } else {
      this.grid.draw();
    }
  }

  row(lead) {
    const name = nameOf(lead) || lead.email || lead.phone || "no name";
    const changed = (now) => this.changed(now);
    const cell = (column, ...content) => h("td", { class: `c-${column}`, role: "cell" }, content);
    return [
      cell("check", h("input", {
        type: "checkbox", "data-control": "check", "aria-label": `Select ${name}`, checked: this.grid.selected.has(lead.id),
        onchange: (event) => this.select(lead.id, event.target.checked),
      })),
      cell("time", time(lead.createdAt)),
      cell("status", editable(lead, "status", changed)),
      cell("name", h("a", {
        href: `?open=${lead.id}`, "data-control": "open",
        onclick: (event) => {
          if (event.metaKey || event.ctrlKey) return;
          event.preventDefault();
          this.grid.current = this.grid.items.indexOf(lead);
          this.openLead(lead.id);
        },
      }, name)),
      cell("email", lead.email ?? ""),
      cell("phone", lead.phone ?? ""),
      cell("country", lead.country ?? ""),
      cell("offer", lead.offer ?? ""),
      cell("marker", lead.marker ?? ""),
      cell("source", lead.sourcetype ?? ""),
      cell("assigned", editable(lead, "assignedTo", changed)),
    ];
  }

  empty() {
    if (place.filter.length) {
      return h("div", { class: "empty" }, h("h2", {}, "No lead is like that"), h("p", {}, "Search finds how an email, a phone or a last name begins."),
        h("button", { type: "button", onclick: () => place.go(Object.fromEntries(FILTERS.map((name) => [name, null]))) }, "Clear search and filters"));
    }
    const command = `curl ${new URL("api/lead", location.href.split("?")[0])} \\\n  -H 'Content-Type: application/json' \\\n  -d '{"email": "first@example.com"}'`;
    return h("div", { class: "empty" }, h("h2", {}, "No lead has arrived yet"), h("p", {}, "The first one shows here by itself:"), h("pre", { class: "body" }, command));
  }

  async reload() {
    this.asking?.abort();
    this.asking = new AbortController();
    this.waiting = [];
    this.mustReload = false;
    this.arrivals.hidden = true;
    this.grid.selected.clear();
    this.showSelection();
    try {
      const page = await api.leads([...place.filter, ["limit", PAGE]], this.asking.signal);
      this.cursor = page.next;
      learn(page.leads);
      this.grid.element.scrollTop = 0;
      this.grid.replace(page.leads, page.next !== null);
      this.showCount();
    } catch (error) {
      if (error.name !== "AbortError") notice(error.message, "error");
    }
  }

  async more() {
    if (!this.cursor) return;
    const filter = this.shownFilter;
    const page = await api.leads([...place.filter, ["limit", PAGE], ["cursor", this.cursor]]);
    if (filter !== this.shownFilter) return;
    this.cursor = page.next;
    learn(page.leads);
    this.grid.append(page.leads, page.next !== null);
    this.showCount();
  }

  showCount() {
    const { length } = this.grid.items;
    this.count.textContent = this.grid.hasMore ? `${number(length)} loaded, more below` : length === 1 ? "1 lead" : `${number(length)} leads`;
  }

  // New leads come in at the top; a person who has scrolled away is told and not moved.
  arrived({ leads, more }) {
    const wanted = leads.filter((lead) => this.isWanted(lead));
    learn(wanted);
    this.waiting.unshift(...wanted);
    if (more) return this.tell(true);
    if (!wanted.length) return null;
    if (this.mustReload || !this.grid.atTop) return this.tell();
    return this.showWaiting();
  }

  // Leads may have come of which nothing was told: while the connection was away, or more than are told at once.
  missed() {
    if (this.grid.atTop && !this.grid.selected.size) return this.reload();
    return this.tell(true);
  }

  tell(mustReload = false) {
    this.mustReload ||= mustReload;
    this.arrivals.textContent = `${this.mustReload ? "More" : number(this.waiting.length)} new — show`;
    this.arrivals.hidden = false;
  }

  showWaiting() {
    this.arrivals.hidden = true;
    this.grid.element.scrollTop = 0;
    if (this.mustReload) return this.reload();
    this.grid.prepend(this.waiting);
    this.waiting = [];
    return this.showCount();
  }

  isWanted(lead) {
    const parameters = place.parameters;
    const q = parameters.get("q")?.toLowerCase();
    const text = `${lead.firstName ?? ""} ${lead.lastName ?? ""} ${lead.email ?? ""} ${lead.phone ?? ""}`.toLowerCase();
    if (q && !text.includes(q)) return false;
    for (const name of ["email", "phone"]) if (parameters.get(name) && (lead[name] ?? "").toLowerCase() !== parameters.get(name).toLowerCase()) return false;
    const at = Date.parse(lead.createdAt);
    if (parameters.get("from") && at < momentOf(parameters.get("from"))) return false;
    if (parameters.get("to") && at >= momentOf(parameters.get("to"), true)) return false;
    return EXACT.every((name) => !parameters.has(name) || parameters.getAll(name).includes(lead[name] ?? ""));
  }

  async othersChanged({ ids, more }) {
    if (more) return this.missed();
    const shown = new Set(this.grid.items.map((lead) => lead.id));
    for (const id of ids.filter((one) => shown.has(one))) {
      const found = await api.lead(id).catch(() => null);
      if (found?.lead) this.grid.update(found.lead);
    }
    return null;
  }

  changed(lead) {
    this.grid.update(lead);
    this.onChanged?.(lead);
  }

  // Filters.

  makeFilters() {
    const field = (name, properties = {}) => h("label", {}, LABELS[name], h("input", {
      name, maxlength: 500,
      list: name === "status" || name === "assignedTo" ? `known-${name}` : null,
      onchange: (event) => place.go({ [name]: event.target.value || null }, { replace: true }),
      ...properties,
    }));
    this.filters.replaceChildren(...EXACT.map((name) => field(name)), field("email"), field("phone"),
      field("from", { type: "date" }), field("to", { type: "date" }));
  }

  toggleFilters(open = this.filters.hidden) {
    this.filters.hidden = !open;
    this.filtersButton.setAttribute("aria-expanded", String(open));
    if (open) {
      suggestions("status");
      suggestions("assignedTo");
      this.filters.querySelector("input").focus();
    }
  }

  showFilter() {
    const filter = place.filter.filter(([name]) => name !== "q");
    for (const input of this.filters.querySelectorAll("input")) {
      if (document.activeElement !== input) input.value = place.parameters.get(input.name) || "";
    }
    this.chips.hidden = !filter.length;
    this.chips.replaceChildren(...filter.map(([name, value]) => h("button", {
      class: "chip", type: "button", "aria-label": `Remove the filter ${LABELS[name]}: ${value || "none"}`,
      onclick: () => place.go({ [name]: place.parameters.getAll(name).filter((other) => other !== value) }),
    }, `${LABELS[name]}: ${value || "none"}`)));
  }

  // Many at once.

  select(id, isSelected) {
    if (isSelected) this.grid.selected.add(id);
    else this.grid.selected.delete(id);
    this.grid.draw();
    this.showSelection();
  }

  selectAll(isSelected) {
    this.grid.selected = new Set(isSelected ? this.grid.items.slice(0, 1000).map((lead) => lead.id) : []);
    this.grid.draw();
    this.showSelection();
  }

  showSelection() {
    const { size } = this.grid.selected;
    this.all.checked = size > 0 && size >= Math.min(1000, this.grid.items.length);
    this.all.indeterminate = size > 0 && !this.all.checked;
    this.bulk.hidden = !size;
    if (!size) return this.bulk.replaceChildren();
    if (this.bulk.childElementCount) {
      this.bulk.querySelector("strong").textContent = `${number(size)} selected`;
      return null;
    }
    const status = h("input", { placeholder: "Status", "aria-label": "New status", list: suggestions("status"), maxlength: 200 });
    const assigned = h("input", { placeholder: "Assign to", "aria-label": "Assign to", list: suggestions("assignedTo"), maxlength: 200 });
    const apply = async () => {
      const changes = {};
      if (status.value.trim()) changes.status = status.value.trim();
      if (assigned.value.trim()) changes.assignedTo = assigned.value.trim();
      if (!Object.keys(changes).length) return status.focus();
      try {
        const done = await api.changeMany([...this.grid.selected], changes);
        notice(`${number(done.changed)} changed`);
        return this.reload();
      } catch (error) {
        return notice(error.message, "error");
      }
    };
    return this.bulk.replaceChildren(h("strong", {}, `${number(size)} selected`), status, assigned,
      h("button", { class: "primary", type: "button", onclick: apply }, "Apply"),
      h("button", { class: "quiet", type: "button", "aria-label": "Clear the selection", onclick: () => this.selectAll(false) }, "✕"));
  }

  exportMenu() {
    const save = async (format) => {
      choices.hidden = true;
      button.disabled = true;
      try {
        await api.export(place.filter, format);
        notice("Exported");
      } catch (error) {
        if (error.name !== "AbortError") notice(error.message, "error");
      }
      button.disabled = false;
    };
    const choices = h("div", { hidden: true },
      h("button", { type: "button", onclick: () => save("csv") }, "CSV, for spreadsheets"),
      h("button", { type: "button", onclick: () => save("ndjson") }, "NDJSON, for programs"));
    const toggle = (isOpen) => {
      choices.hidden = !isOpen;
      button.setAttribute("aria-expanded", String(isOpen));
    };
    const button = h("button", { type: "button", "aria-expanded": "false", onclick: () => toggle(choices.hidden) }, "Export");
    const menu = h("div", { class: "menu", onkeydown: (event) => event.key === "Escape" && (event.stopPropagation(), toggle(false), button.focus()) }, button, choices);
    document.addEventListener("click", (event) => menu.contains(event.target) || toggle(false));
    return menu;
  }

  key(key) {
    const lead = this.grid.currentItem;
    if (key === "j" || key === "k") this.grid.move(key === "j" ? 1 : -1);
    else if (key === "Enter" && lead) this.openLead(lead.id);
    else if (key === "e" && lead) this.grid.control("status")?.click();
    else if (key === "a" && lead) this.grid.control("assignedTo")?.click();
    else if (key === "x" && lead) this.select(lead.id, !this.grid.selected.has(lead.id));
    else return false;
    return true;
  }
}
