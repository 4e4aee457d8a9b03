// The overview: what arrived, by time, outcome and source.

import { api } from "./api.js";
import { clockOf, dayOf, h, longTime, notice, number, utcDayOf } from "./dom.js";
import { LABELS, place } from "./place.js";

const RANGES = { day: ["24 hours", 1, "hour"], week: ["7 days", 7, "hour"], month: ["30 days", 30, "day"] };
const OUTCOMES = ["created", "repeats", "conflicts", "invalid", "failed"];
const STATES = { repeats: "repeat", conflicts: "conflict", invalid: "invalid", failed: "failed", spooled: "spooled" };

export class OverviewView {
  constructor() {
    this.ranges = h("div", { class: "tabs", role: "group", "aria-label": "Time" });
    this.content = h("div", { class: "overview" });
    this.parts = [h("h1", { class: "visually-hidden" }, "Overview"), h("div", { class: "toolbar" }, this.ranges), this.content];
  }

  get range() { return RANGES[place.parameters.get("range")] ? place.parameters.get("range") : "day"; }

  show(container) {
    container.replaceChildren(...this.parts);
    this.ranges.replaceChildren(...Object.entries(RANGES).map(([name, [label]]) => h("button", {
      type: "button", "aria-pressed": String(name === this.range), onclick: () => place.go({ range: name }),
    }, label)));
    this.reload();
  }

  async reload() {
    const [, days, step] = RANGES[this.range];
    // From a whole hour or day, so that who asks again asks the same.
    const span = step === "hour" ? 3600000 : 86400000;
    const from = new Date(Math.floor(Date.now() / span + 1) * span - days * 86400000).toISOString();
    this.askedAt = Date.now();
    try {
      this.draw(await api.statistics({ from, step }), from);
    } catch (error) {
      notice(error.message, "error");
    }
  }

  arrived() {
    if (Date.now() - (this.askedAt ?? 0) > 5000) this.reload();
  }

  draw(counted, from) {
    const tile = (name, count, label) => h("a", { class: "card tile", href: STATES[name] ? `?view=inbox&state=${STATES[name]}` : "?", "data-go": true },
      h("b", {}, number(count)), h("span", {}, label));
    const { outcomes } = counted;
    const tiles = h("div", { class: "tiles" }, tile("created", outcomes.created, "leads"), tile("repeats", outcomes.repeats, "repeats"),
      tile("conflicts", outcomes.conflicts, "conflicts"), tile("invalid", outcomes.invalid, "invalid"), tile("failed", outcomes.failed, "failed"),
      tile("spooled", outcomes.spooled, "in the spool now"));
    this.content.replaceChildren(tiles, this.chart(counted), h("div", { class: "breakdowns" },
      Object.entries(counted.by).map(([name, values]) => this.breakdown(name, values, outcomes.created, from))));
  }

  chart({ steps, step }) {
    const width = 1000;
    const height = 240;
    const stepName = step === "hour" ? longTime : utcDayOf;
    const most = Math.max(1, ...steps.map((at) => OUTCOMES.reduce((sum, name) => sum + at[name], 0)));
    const top = niceCeiling(most);
    const slot = width / steps.length;
    const y = (count) => height - (count / top) * height;
    const bars = steps.map((at, index) => {
      let base = 0;
      const parts = OUTCOMES.filter((name) => at[name]).map((name) => {
        const part = h("rect", { class: `s-${name}`, x: index * slot + slot * 0.12, width: Math.max(1, slot * 0.76), y: y(base + at[name]), height: y(base) - y(base + at[name]) });
        base += at[name];
        return part;
      });
      const told = OUTCOMES.filter((name) => at[name]).map((name) => `${number(at[name])} ${name}`).join(", ") || "nothing";
      const area = h("rect", { x: index * slot, width: slot, y: 0, height, fill: "transparent" });
      return h("g", {}, h("title", {}, `${stepName(at.at)}: ${told}`), area, parts);
    });
    const lines = [0, 0.5, 1].map((share) => h("line", { x1: 0, x2: width, y1: y(top * share), y2: y(top * share), "vector-effect": "non-scaling-stroke" }));
    const svg = h("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, lines, bars);
    // Texts would be stretched with the bars, so they lie over and under them.
    const scale = [1, 0.5].filter((share) => Number.isInteger(top * share)).map((share) => {
      const text = h("span", { class: "scale", "aria-hidden": "true" }, number(top * share));
      text.style.top = `${(1 - share) * 100}%`;
      return text;
    });
    const axis = h("div", { class: "axis", "aria-hidden": "true" }, steps.flatMap(({ at }, index) => {
      const label = labelAt(at, step, steps.length);
      if (!label || index > steps.length * 0.95) return [];
      const text = h("span", {}, label);
      text.style.left = `${(index / steps.length) * 100}%`;
      return [text];
    }));
    const table = h("details", {}, h("summary", {}, "As a table"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leads by time, as a table" }, h("table", { class: "data" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, step === "hour" ? "Hour" : "Day (UTC)"), OUTCOMES.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, steps.map((at) => h("tr", {}, h("th", { scope: "row" }, stepName(at.at)), OUTCOMES.map((name) => h("td", {}, number(at[name])))))))));
    return h("section", { class: "card chart", "aria-label": `Requests by ${step} and outcome` },
      h("div", { class: "chart-head" }, h("h2", {}, `By ${step}`), h("span", { class: "muted" }, `most: ${number(most)}`),
        h("div", { class: "legend" }, OUTCOMES.map((name) => h("span", { class: `s-${name}` }, name)))),
      h("div", { class: "plot" }, scale, svg), axis, table);
  }

  breakdown(name, values, total, from) {
    const label = LABELS[name];
    const rows = toldApart(values).slice(0, 8).map(({ value, leads }) => h("div", { class: "share" },
      h("a", { href: `?${new URLSearchParams({ [name]: value, from })}`, "data-go": true }, value || "none"),
      h("span", {}, number(leads)), h("meter", { min: 0, max: Math.max(1, total), value: leads, "aria-label": `${value || "none"}: ${leads} of ${total}` })));
    return h("section", { class: "card chart", "aria-label": label }, h("h2", {}, label), rows.length ? rows : h("p", { class: "muted" }, "Nothing yet."));
  }

  key() { return false; }
}

/** Nothing and an empty text are one to people, and to the filter. */
function toldApart(values) {
  const leads = new Map();
  for (const one of values) leads.set(one.value ?? "", (leads.get(one.value ?? "") ?? 0) + one.leads);
  return [...leads].map(([value, count]) => ({ value, leads: count })).sort((one, other) => other.leads - one.leads);
}

/** What stands under a step, if something does: days at their midnight, hours where there are few of them. */
function labelAt(text, step, count) {
  const at = new Date(text);
  if (step === "day") return at.getUTCDate() % (innerWidth < 760 ? 7 : 3) === 1 ? utcDayOf(text) : null;
  const every = count > 48 ? 24 : innerWidth < 760 ? 6 : 3;
  return at.getHours() % every === 0 ? (every === 24 ? dayOf(text) : clockOf(text)) : null;
}

function niceCeiling(count) {
  const magnitude = 10 ** Math.floor(Math.log10(count));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((factor) => factor * magnitude).find((nice) => nice >= count);
}
