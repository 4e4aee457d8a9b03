// How values read: numbers, times, sizes, names.

const NUMBER = new Intl.NumberFormat("en");
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const UTC_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const DAY_OF_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const formatNumber = (value) => NUMBER.format(value);

/** A time in the reader's zone, short enough for a table. */
export function shortTime(text, now = new Date()) {
	const at = new Date(text);
	if (at.toDateString() === now.toDateString()) return CLOCK.format(at);
	if (at.getFullYear() === now.getFullYear()) return `${DAY.format(at)}, ${CLOCK.format(at)}`;
	return DAY_OF_YEAR.format(at);
}

export const longTime = (text) => DAY_AND_CLOCK.format(new Date(text));
export const localDay = (text) => DAY.format(new Date(text));
export const localClock = (text) => CLOCK.format(new Date(text));

/** The server counts by days of UTC. */
export const utcDay = (text) => UTC_DAY.format(new Date(text));

export function formatBytes(count) {
	if (count === null) return "";
	if (count < 1000) return `${count} B`;
	return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export const fullName = (lead) => [lead.firstName, lead.lastName].filter((part) => part?.trim()).join(" ");
