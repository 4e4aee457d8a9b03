// One lead, or one request that is none, with all that is known of it.

import { api } from "./api.js";
import { bytes, h, longTime, nameOf, notice, pill } from "./dom.js";
import { change, suggestions } from "./edit.js";
import { LABELS } from "./place.js";

const FIELDS = ["firstName", "lastName", "email", "phone", "country", "lang", "ip", "offer", "marker", "sourcetype", "domain",
  "creo", "click_id", "description"];

export class Drawer {
  constructor(element, { onClose, onChanged, onReplayed }) {
    Object.assign(this, { element, onClose, onChanged, onReplayed });
  }

  async open(id) {
    if (this.id !== id) this.cameFrom = document.activeElement;
    this.id = id;
    try {
      const found = await api.lead(id);
      const duplicate = found.way.length ? await api.raw(found.way[0]).catch(() => null) : null;
      if (this.id !== id) return;
      this.show(found, duplicate);
    } catch (error) {
      notice(error.message, "error");
      this.onClose();
    }
  }

  close() {
    if (this.element.hidden) return;
    this.id = null;
    this.element.hidden = true;
    this.element.replaceChildren();
    this.cameFrom?.isConnected && this.cameFrom.focus({ preventScroll: true });
  }

  async refresh() {
    if (this.id) await this.open(this.id);
  }

  show({ lead, raw, events, duplicates, way }, duplicate) {
    const title = lead ? nameOf(lead) || lead.email || lead.phone || "A lead without a name" : "Not a lead";
    const heading = h("h2", { tabindex: "-1" }, title);
    const content = h("div", { class: "details" },
      h("header", {}, h("div", {}, heading, h("span", { class: "muted mono" }, lead?.id ?? raw?.id)),
        h("button", { class: "quiet", type: "button", "aria-label": "Close", onclick: () => this.onClose() }, "✕")),
      way.length ? h("p", { class: "note" }, `You came by ${way[0]}, which is a duplicate: this is the first.`) : null,
      lead ? this.work(lead) : raw ? this.reason(raw) : null,
      lead ? this.fields(lead) : null,
      lead ? this.history(lead, events, duplicates) : null,
      duplicate ? this.request(duplicate, `The ${duplicate.state} you came by`) : null,
      raw ? this.request(raw) : null);
    const wasHidden = this.element.hidden;
    this.element.replaceChildren(content);
    this.element.hidden = false;
    if (wasHidden) heading.focus({ preventScroll: true });
  }

  work(lead) {
    const field = (name, label) => {
      const input = h("input", {
        value: lead[name] ?? "", list: suggestions(name), maxlength: 200, placeholder: name === "assignedTo" ? "nobody" : null,
        "data-field": name,
        onkeydown: (event) => {
          if (event.key === "Enter") input.blur();
          if (event.key === "Escape") {
            event.stopPropagation();
            input.value = lead[name] ?? "";
            input.blur();
          }
        },
        onblur: async () => {
          const text = input.value.trim();
          if (text === (lead[name] ?? "") || (name === "status" && !text)) return;
          const changed = await change(lead, { [name]: text || null });
          if (changed) this.onChanged(changed);
          this.refresh();
        },
      });
      return h("label", {}, label, input);
    };
    return h("div", { class: "work" }, field("status", "Status"), field("assignedTo", "Assigned to"));
  }

  fields(lead) {
    const filled = FIELDS.filter((name) => lead[name] !== null && lead[name] !== "");
    const empty = FIELDS.filter((name) => !filled.includes(name)).map((name) => LABELS[name].toLowerCase());
    return h("section", { "aria-label": "Fields" }, h("h3", {}, "What was sent"),
      h("dl", { class: "fields" }, filled.map((name) => [h("dt", {}, LABELS[name]), h("dd", {}, lead[name])])),
      empty.length ? h("p", { class: "muted" }, `Nothing for ${empty.join(", ")}.`) : null);
  }

  history(lead, events, duplicates) {
    const words = { status: "Status", assignedTo: "Assigned to" };
    const items = events.map((event) => h("li", {}, h("time", { datetime: event.at }, `${longTime(event.at)}, ${event.by}`),
      `${words[event.field] ?? event.field}: ${event.from ?? "nobody"} → ${event.to ?? "nobody"}`));
    const again = [["repeats", "repeat", "repeats"], ["conflicts", "conflict", "conflicts"]]
      .filter(([name]) => duplicates[name]).map(([name, one, many]) => `${duplicates[name]} ${duplicates[name] === 1 ? one : many}`);
    const arrival = h("li", {}, h("time", { datetime: lead.createdAt }, longTime(lead.createdAt)),
      again.length ? `Arrived; its key came again: ${again.join(", ")}` : "Arrived");
    return h("section", { "aria-label": "History" }, h("h3", {}, "History"), h("ol", { class: "history" }, items.reverse(), arrival));
  }

  reason(raw) {
    const replayable = raw.state === "failed" || raw.state === "invalid";
    return h("div", {}, h("p", { class: "note" }, h("strong", {}, raw.state), raw.error ? `: ${raw.error}` : ""),
      replayable ? h("button", { class: "primary", type: "button", onclick: (event) => this.replay(raw.id, event.target) }, "Replay") : null);
  }

  async replay(id, button) {
    if (button) button.disabled = true;
    try {
      const done = await api.replay(id);
      notice(said(done), done.leadId ? "info" : "error");
      this.onReplayed(done);
      await this.refresh();
    } catch (error) {
      notice(error.message, "error");
    }
    if (button) button.disabled = false;
  }

  request(raw, title = "Raw request") {
    const facts = [["State", pill(raw.state, raw.state)], ["Received", longTime(raw.receivedAt)], ["From", raw.remoteAddr],
      ["Request", `${raw.method} ${raw.target}`], ["Content type", raw.contentType ?? "none"], ["Key", raw.idempotencyKey ?? "none"],
      ["Request id", raw.requestId], ["Node", raw.node], ["SHA-256", h("span", { class: "mono" }, raw.bodySha256)]];
    const size = raw.body === null ? null : raw.bodyEncoding === "text" ? new Blob([raw.body]).size : Math.floor((raw.body.length * 3) / 4);
    return h("section", { "aria-label": title }, h("h3", {}, title),
      h("dl", { class: "fields" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h("details", {}, h("summary", {}, "Headers"),
        h("dl", { class: "fields" }, Object.entries(raw.headers).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
      raw.body === null ? h("p", { class: "muted" }, "The body is the first request's, byte for byte.")
        : h("div", {}, h("p", { class: "muted" }, `Body, ${bytes(size)}${raw.bodyEncoding === "base64" ? ", no text, as base64" : ""}`),
          h("pre", { class: "body", tabindex: "0", "aria-label": "Body" }, raw.body)));
  }
}

export function said(done) {
  if (done.state === "stored") return done.changed ? "It is a lead now." : "It is a lead already.";
  if (done.leadId) return `Its key belongs to another lead: it is a ${done.state} of that one.`;
  return `Still ${done.state}: ${done.error ?? "no lead can be made of it"}`;
}
