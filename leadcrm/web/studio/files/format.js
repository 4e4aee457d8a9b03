// How values read: numbers, times in the zone that everybody means, sizes, names.

const NUMBER = new Intl.NumberFormat("en");
const MINUTE_MS = 60000;

let formats = {};

/** The time zone of all times and days that are shown: the server's TIME_ZONE, else the browser's. */
export const zone = {
	name: "",
	set(name) {
		this.name = name;
		const make = (locale, options) => new Intl.DateTimeFormat(locale, { ...options, timeZone: name });
		formats = {
			clock: make("en-GB", { hour: "2-digit", minute: "2-digit" }),
			day: make("en-GB", { day: "numeric", month: "short" }),
			dayOfYear: make("en-GB", { day: "numeric", month: "short", year: "numeric" }),
			dayAndClock: make("en-GB", { dateStyle: "medium", timeStyle: "medium" }),
			date: make("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" }),
			hour: make("en-GB", { hour: "2-digit", hourCycle: "h23" }),
		};
	},
};

zone.set(Intl.DateTimeFormat().resolvedOptions().timeZone);

/** A zone of the same offset from UTC, for a server that does not know the zone. */
export function offsetName(now) {
	const minutes = -now.getTimezoneOffset();
	const two = (number) => String(Math.floor(number)).padStart(2, "0");
	return `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

export const formatNumber = (value) => NUMBER.format(value);

/** The day of a time, as a field for dates has it. */
export const dayOf = (text) => formats.date.format(new Date(text));

/** A time, short enough for a table. */
export function shortTime(text, now = new Date()) {
	const at = new Date(text);
	if (dayOf(at) === dayOf(now)) return formats.clock.format(at);
	if (dayOf(at).slice(0, 4) === dayOf(now).slice(0, 4)) return `${formats.day.format(at)}, ${formats.clock.format(at)}`;
	return formats.dayOfYear.format(at);
}

export const longTime = (text) => formats.dayAndClock.format(new Date(text));
export const localDay = (text) => formats.day.format(new Date(text));
export const localClock = (text) => formats.clock.format(new Date(text));
export const localHour = (text) => Number.parseInt(formats.hour.format(new Date(text)), 10);

/** A time as a field for date and time has it, to the minute. */
export function localText(text) {
	if (!text) return "";
	return `${dayOf(text)}T${localClock(text)}`;
}

/** The time that such a field means. */
export function fromLocalText(value) {
	const asUtc = Date.parse(`${value}Z`);
	const offsetAt = (at) => Date.parse(`${localText(at)}Z`) - Math.floor(at / MINUTE_MS) * MINUTE_MS;
	const near = asUtc - offsetAt(asUtc);
	// The clocks may have been changed between the two.
	return new Date(asUtc - offsetAt(near));
}

export const fullName = (lead) => [lead.firstName, lead.lastName].filter((part) => part?.trim()).join(" ");

/** How far a filter has looked. */
export const reachText = (searched) =>
	searched?.from ? `, looked at ${formatNumber(searched.leads)}, to ${longTime(searched.from)}` : "";
