// The inbox: what was kept but is no lead, and making it one.

import { api } from "./api.js";
import { bytes, h, notice, pill, time } from "./dom.js";
import { said } from "./drawer.js";
import { Grid } from "./grid.js";
import { place } from "./place.js";

const PAGE = 100;
const STATES = ["failed", "invalid", "conflict", "repeat", "spooled"];

export class InboxView {
  constructor(openId) {
    this.openId = openId;
    this.grid = new Grid({
      kind: "inbox",
      label: "Requests that are no leads, newest first",
      columns: [["time", "Arrived"], ["state", "State"], ["error", "Why"], ["size", "Body"], ["from", "From"], ["from", "Key"], ["action", h("span", { class: "visually-hidden" }, "Replay")]],
      row: (row) => this.row(row),
      more: () => this.more(),
      open: (row) => openId(row.id),
      empty: () => h("div", { class: "empty" }, h("h2", {}, "Nothing here"), h("p", {}, place.parameters.get("state") ? "No request is in this state." : "Every request that arrived has become a lead.")),
    });
    this.tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
    this.parts = [h("h1", { class: "visually-hidden" }, "Inbox"),
      h("div", { class: "toolbar" }, this.tabs, h("span", { class: "spring" }), h("button", { class: "quiet", type: "button", "aria-label": "Look again", title: "Look again", onclick: () => this.reload() }, "↻")),
      this.grid.element];
  }

  get state() { return place.parameters.get("state"); }

  show(container) {
    container.replaceChildren(...this.parts);
    this.tabs.replaceChildren(...[null, ...STATES].map((state) => h("button", {
      type: "button", "aria-pressed": String(this.state === state), onclick: () => place.go({ state }),
    }, state ?? "all")));
    if (this.shownState !== this.state || !this.isLoaded) this.reload();
    else this.grid.draw();
  }

  row(row) {
    const cell = (column, ...content) => h("td", { class: `c-${column}`, role: "cell" }, content);
    const replayable = row.state === "failed" || row.state === "invalid";
    const why = row.error ?? (row.duplicateOf ? `same key as ${row.duplicateOf}` : row.state === "spooled" ? "waits for the database" : "");
    return [
      cell("time", time(row.receivedAt)),
      cell("state", h("a", {
        href: `?view=inbox&open=${row.id}`, "data-control": "open", "aria-label": `Open the ${row.state} request`,
        onclick: (event) => {
          event.preventDefault();
          this.openId(row.id);
        },
      }, pill(row.state, row.state))),
      cell("error", why),
      cell("size", bytes(row.bodyBytes)),
      cell("from", row.remoteAddr),
      cell("from", row.idempotencyKey ?? ""),
      cell("action", replayable ? h("button", { type: "button", "data-control": "replay", onclick: (event) => this.replay(row, event.target) }, "Replay") : ""),
    ];
  }

  async replay(row, button) {
    button.disabled = true;
    try {
      const done = await api.replay(row.id);
      notice(said(done), done.leadId ? "info" : "error");
      this.replayed(done);
    } catch (error) {
      notice(error.message, "error");
    }
    button.disabled = false;
  }

  replayed(done) {
    const row = this.grid.items.find((item) => item.id === done.id);
    if (!row) return;
    if (done.state === "stored") this.grid.replace(this.grid.items.filter((item) => item !== row), this.grid.hasMore);
    else this.grid.update({ ...row, state: done.state, error: done.error });
    this.onReplayed?.();
  }

  async reload() {
    this.shownState = this.state;
    this.isLoaded = true;
    try {
      const page = await api.inbox(this.parameters());
      this.cursor = page.next;
      this.grid.replace(page.rows, page.next !== null);
    } catch (error) {
      notice(error.message, "error");
    }
  }

  async more() {
    if (!this.cursor) return;
    const page = await api.inbox([...this.parameters(), ["cursor", this.cursor]]);
    this.cursor = page.next;
    this.grid.append(page.rows, page.next !== null);
  }

  parameters() {
    return [["limit", PAGE], ...(this.state ? [["state", this.state]] : [])];
  }

  key(key) {
    if (key === "j" || key === "k") this.grid.move(key === "j" ? 1 : -1);
    else if (key === "Enter" && this.grid.currentItem) this.openId(this.grid.currentItem.id);
    else return false;
    return true;
  }
}
