import assert from "node:assert/strict";
import { test } from "node:test";

// Before the module makes its formats.
process.env.TZ = "Europe/Riga";
const format = await import("../../leadcrm/web/studio/files/format.js");
const amounts = await import("../../leadcrm/web/studio/files/amounts.js");
const { dayOf, fromLocalText, localText, zone } = format;

test("a time of today shows its hour, one of this year its day too, an older one its year", () => {
	const now = new Date("2026-03-10T12:00:00Z");
	assert.equal(format.shortTime("2026-03-10T07:05:00Z", now), "09:05");
	assert.equal(format.shortTime("2026-03-09T21:59:00Z", now), "9 Mar, 23:59");
	assert.equal(format.shortTime("2026-03-09T22:01:00Z", now), "00:01");
	assert.equal(format.shortTime("2025-12-31T21:59:00Z", now), "31 Dec 2025");
	assert.equal(format.shortTime("2025-12-31T22:01:00Z", now), "1 Jan, 00:01");
});

test("a day is a day of the zone", () => {
	assert.equal(format.localDay("2026-03-09T23:00:00Z"), "10 Mar");
	assert.equal(format.localClock("2026-03-09T23:00:00Z"), "01:00");
});

test("sizes use the unit that reads best", () => {
	const cases = [
		[null, ""],
		[0, "0 B"],
		[999, "999 B"],
		[1000, "1.0 kB"],
		[999949, "999.9 kB"],
		[1048576, "1.0 MB"],
	];
	for (const [count, text] of cases) assert.equal(amounts.formatBytes(count), text);
});

test("numbers have separators", () => {
	assert.equal(format.formatNumber(1234567), "1,234,567");
});

test("a name leaves out parts that are empty", () => {
	assert.equal(format.fullName({ firstName: "Ann", lastName: "Lee" }), "Ann Lee");
	assert.equal(format.fullName({ firstName: " ", lastName: "Lee" }), "Lee");
	assert.equal(format.fullName({ firstName: null, lastName: "" }), "");
});

test("times are typed and read in the zone of all, whatever the browser's is", () => {
	const before = zone.name;
	zone.set("America/New_York");
	assert.equal(localText("2026-03-09T03:30:45Z"), "2026-03-08T23:30");
	assert.equal(localText(null), "");
	assert.equal(fromLocalText("2026-03-08T23:30").toISOString(), "2026-03-09T03:30:00.000Z");
	assert.equal(fromLocalText("2026-03-08T01:30").toISOString(), "2026-03-08T06:30:00.000Z", "before the clocks change");
	assert.equal(dayOf("2026-03-09T03:30:45Z"), "2026-03-08");
	zone.set(before);
});

test("a length of time is told by its largest unit", () => {
	const told = [0, 59, 61, 3600, 90061].map(amounts.formatSeconds);
	assert.deepEqual(told, ["0 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h"]);
});
