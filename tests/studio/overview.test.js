import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";

// Before the modules make their formats.
process.env.TZ = "Europe/Riga";
const { niceCeiling, stepLabel } = await import("../../leadcrm/web/studio/files/chart.js");
const { changeText, mergeEmpty, rangeStart } = await import("../../leadcrm/web/studio/files/overview.js");

const HOUR_MS = 3600000;

test("hours of a range end with the one that is under way, its days are those of the zone", () => {
	const now = Date.parse("2026-03-10T22:34:56Z");
	const [day, month] = [
		{ days: 1, step: "hour" },
		{ days: 30, step: "day" },
	];
	assert.equal(rangeStart(now, day), "2026-03-09T23:00:00.000Z");
	assert.equal(rangeStart(now, month), "2026-02-10");
	assert.equal(rangeStart(now + HOUR_MS / 3, day), rangeStart(now, day));
});

test("a number is compared with the one before", () => {
	assert.deepEqual(
		[changeText(120, 100), changeText(50, 100), changeText(5, 0), changeText(0, 0)],
		["+20% to before", "-50% to before", "none before", ""],
	);
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

test("days are labelled one by one, hours by the zone's clock, and fewer where it is narrow", () => {
	const hours = [...Array(24).keys()].map((hour) => new Date(Date.parse("2026-03-10T00:00:00Z") + hour * HOUR_MS));
	const labels = (count, isNarrow) =>
		hours.map((at, index) => stepLabel(at, "hour", { index, count, isNarrow })).filter(Boolean);
	assert.deepEqual(labels(24, true), ["06:00", "12:00", "18:00", "00:00"]);
	assert.equal(labels(24, false).length, 8);
	assert.deepEqual(labels(168, false), ["11 Mar"]);
	const days = [...Array(30).keys()].map((day) => new Date(Date.parse("2026-03-09T22:00:00Z") + day * 24 * HOUR_MS));
	const ofDays = (isNarrow) =>
		days.map((at, index) => stepLabel(at, "day", { index, count: 30, isNarrow })).filter(Boolean);
	assert.deepEqual(ofDays(true).slice(0, 3), ["10 Mar", "16 Mar", "22 Mar"]);
	assert.equal(ofDays(false).length, 10);
});
