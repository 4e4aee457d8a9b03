import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";

process.env.TZ = "Europe/Riga";
const { countsText } = await import("../../leadcrm/web/studio/files/sources.js");
const { compare } = await import("../../leadcrm/web/studio/files/trial.js");

const lead = (fields, more = {}) => ({ key: null, isTest: false, fields, ...more });

test("trials stand side by side, lead by lead, and what differs from what is kept is marked", () => {
	const kept = { leads: [lead({ email: "a" })] };
	const proposed = { leads: [lead({ email: "a", country: "EE" }, { key: "k" }), lead({ email: "b" })] };
	assert.deepEqual(compare([kept, proposed]), [
		[
			{ name: "email", values: ["a", "a"], differs: [false, false] },
			{ name: "country", values: [null, "EE"], differs: [false, true] },
			{ name: "key", values: [null, "k"], differs: [false, true] },
		],
		[{ name: "email", values: [null, "b"], differs: [false, true] }],
	]);
	assert.deepEqual(compare([{ leads: [] }]), []);
});

test("counts and backlogs read as sentences do", () => {
	assert.equal(countsText({ invalid: 1, stored: 1200 }), "1,200 stored, 1 invalid");
	assert.equal(countsText({}), "none");
});
