import assert from "node:assert/strict";
import { test } from "node:test";

// Before the modules make their formats.
process.env.TZ = "Europe/Riga";
await import("./browser.js");
const { countText, viewsOf } = await import("../../leadcrm/web/studio/files/views.js");
const { localText, tomorrowMorning } = await import("../../leadcrm/web/studio/files/notes.js");

const NOW = new Date("2026-03-09T23:30:00Z");

test("the views are those of the person and of the reader's day", () => {
	assert.deepEqual(
		viewsOf("anna", NOW).map(({ name, filter }) => [name, filter]),
		[
			["All", []],
			["Mine", [["assignedTo", "anna"]]],
			["Unassigned", [["assignedTo", ""]]],
			["New today", [["from", "2026-03-09T22:00:00.000Z"]]],
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

test("the next call is typed in the reader's zone", () => {
	assert.equal(localText("2026-03-09T23:30:45Z"), "2026-03-10T01:30");
	assert.equal(localText(null), "");
	assert.equal(tomorrowMorning(NOW).toISOString(), "2026-03-11T07:00:00.000Z");
});
