import assert from "node:assert/strict";
import { test } from "node:test";

// Before the module makes its formats.
process.env.TZ = "Europe/Riga";
const format = await import("../../leadcrm/web/studio/files/format.js");

test("a time of today shows its hour, one of this year its day too, an older one its year", () => {
	const now = new Date("2026-03-10T12:00:00Z");
	assert.equal(format.shortTime("2026-03-10T07:05:00Z", now), "09:05");
	assert.equal(format.shortTime("2026-03-09T21:59:00Z", now), "9 Mar, 23:59");
	assert.equal(format.shortTime("2026-03-09T22:01:00Z", now), "00:01");
	assert.equal(format.shortTime("2025-12-31T21:59:00Z", now), "31 Dec 2025");
	assert.equal(format.shortTime("2025-12-31T22:01:00Z", now), "1 Jan, 00:01");
});

test("a day that the server counted is a day of UTC, any other the reader's", () => {
	assert.equal(format.utcDay("2026-03-09T23:00:00Z"), "9 Mar");
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
	for (const [count, text] of cases) assert.equal(format.formatBytes(count), text);
});

test("numbers have separators", () => {
	assert.equal(format.formatNumber(1234567), "1,234,567");
});

test("a name leaves out parts that are empty", () => {
	assert.equal(format.fullName({ firstName: "Ann", lastName: "Lee" }), "Ann Lee");
	assert.equal(format.fullName({ firstName: " ", lastName: "Lee" }), "Lee");
	assert.equal(format.fullName({ firstName: null, lastName: "" }), "");
});
