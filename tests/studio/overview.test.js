import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";

// Before the modules make their formats.
process.env.TZ = "Europe/Riga";
const { niceCeiling, stepLabel } = await import("../../leadcrm/web/studio/files/chart.js");
const { mergeEmpty, rangeStart } = await import("../../leadcrm/web/studio/files/overview.js");

const HOUR_MS = 3600000;

test("a range ends with the hour or day that is under way and starts on a whole one", () => {
	const now = Date.parse("2026-03-10T12:34:56Z");
	assert.equal(rangeStart(now, 1, "hour"), "2026-03-09T13:00:00.000Z");
	assert.equal(rangeStart(now, 30, "day"), "2026-02-09T00:00:00.000Z");
	assert.equal(rangeStart(now + HOUR_MS / 3, 1, "hour"), rangeStart(now, 1, "hour"));
});

test("an absent value and an empty text are counted as one, the most frequent first", () => {
	const values = [
		{ value: "LV", leads: 5 },
		{ value: null, leads: 3 },
		{ value: "", leads: 4 },
	];
	assert.deepEqual(mergeEmpty(values), [
		{ value: "", leads: 7 },
		{ value: "LV", leads: 5 },
	]);
});

test("a scale ends at the next number that reads well", () => {
	assert.deepEqual([1, 7, 10, 11, 26, 101, 9999].map(niceCeiling), [1, 8, 10, 15, 30, 150, 10000]);
});

test("days are labelled by UTC, hours by the reader's clock, and fewer where it is narrow", () => {
	const hours = [...Array(24).keys()].map((hour) => new Date(Date.parse("2026-03-10T00:00:00Z") + hour * HOUR_MS));
	const labels = (count, isNarrow) => hours.map((at) => stepLabel(at, "hour", count, isNarrow)).filter(Boolean);
	assert.deepEqual(labels(24, true), ["06:00", "12:00", "18:00", "00:00"]);
	assert.equal(labels(24, false).length, 8);
	assert.deepEqual(labels(168, false), ["11 Mar"]);
	assert.equal(stepLabel("2026-03-07T00:00:00Z", "day", 30, false), "7 Mar");
	assert.equal(stepLabel("2026-03-07T00:00:00Z", "day", 30, true), null);
	assert.equal(stepLabel("2026-03-08T00:00:00Z", "day", 30, true), "8 Mar");
});
