import assert from "node:assert/strict";
import { test } from "node:test";

// Before the modules make their formats.
process.env.TZ = "Europe/Riga";
await import("./browser.js");
const { countText, viewsOf } = await import("../../leadcrm/web/studio/files/views.js");
const { tomorrowMorning } = await import("../../leadcrm/web/studio/files/notes.js");

const NOW = new Date("2026-03-09T23:30:00Z");

test("the views are those of the person and of the reader's day", () => {
	assert.deepEqual(
		viewsOf("anna", NOW).map(({ name, filter }) => [name, filter]),
		[
			["All", []],
			["Mine", [["assignedTo", "anna"]]],
			["Unassigned", [["assignedTo", ""]]],
			["New today", [["from", "2026-03-10"]]],
			["Due", [["due", "now"]]],
		],
	);
	assert.equal(
		viewsOf("", NOW).some(({ name }) => name === "Mine"),
		false,
	);
});

test("a number that is not exact says so", () => {
	assert.equal(countText({ leads: 1234, exact: true }), "1,234");
	assert.equal(countText({ leads: 33000, exact: false }), "about 33,000");
});

test("tomorrow morning is nine o'clock in the zone, also where the clocks change", () => {
	assert.equal(tomorrowMorning(NOW).toISOString(), "2026-03-11T07:00:00.000Z");
	assert.equal(tomorrowMorning(new Date("2026-03-28T12:00:00Z")).toISOString(), "2026-03-29T06:00:00.000Z");
});
