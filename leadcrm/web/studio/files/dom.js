// Elements made of data. Text is always text: nothing here parses HTML, whatever a sender wrote.

const SVG = "http://www.w3.org/2000/svg";
const IN_SVG = new Set(["svg", "g", "rect", "line", "text", "title"]);

/** Make an element: properties that begin with "on" are listeners, a property that is null or false is left out. */
export function h(name, properties = {}, ...children) {
  const element = IN_SVG.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "indeterminate") element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

const NUMBER = new Intl.NumberFormat("en");
export const number = (value) => NUMBER.format(value);

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const UTC_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const DAY_OF_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** A time as a table has room for it, in the reader's zone. */
export function shortTime(text) {
  const at = new Date(text);
  const now = new Date();
  if (at.toDateString() === now.toDateString()) return CLOCK.format(at);
  const day = at.getFullYear() === now.getFullYear() ? DAY : DAY_OF_YEAR;
  return at.getFullYear() === now.getFullYear() ? `${day.format(at)}, ${CLOCK.format(at)}` : day.format(at);
}

export const longTime = (text) => WHOLE.format(new Date(text));
export const dayOf = (text) => DAY.format(new Date(text));

/** A day that was counted: those are days of UTC. */
export const utcDayOf = (text) => UTC_DAY.format(new Date(text));
export const clockOf = (text) => CLOCK.format(new Date(text));

export const time = (text) => h("time", { datetime: text, title: longTime(text) }, shortTime(text));

export function bytes(count) {
  if (count === null) return "";
  return count < 1000 ? `${count} B` : count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** Tell the person something, for a moment. */
export function notice(text, kind = "info") {
  const element = h("div", { class: "notice", "data-kind": kind }, text);
  byId("notices").append(element);
  setTimeout(() => element.remove(), kind === "error" ? 7000 : 3500);
}

const GOOD = ["won", "sold", "converted", "deposited", "closed", "done", "success"];
const BAD = ["lost", "rejected", "spam", "duplicate", "invalid", "fake", "trash"];

/** What colour a status has: it is free text, so a few usual words are known. */
export function kindOf(status) {
  const word = status.toLowerCase();
  return GOOD.includes(word) ? "good" : BAD.includes(word) ? "bad" : word === "new" ? "new" : "other";
}

export const pill = (text, kind = kindOf(text)) => h("span", { class: "pill", "data-kind": kind }, text);

export const nameOf = (lead) => [lead.firstName, lead.lastName].filter((part) => part && part.trim()).join(" ");
