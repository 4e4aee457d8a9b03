import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";

process.env.TZ = "Europe/Riga";
const { deliveryText } = await import("../../leadcrm/web/studio/files/deliveries.js");
const { backlogText, changeAll } = await import("../../leadcrm/web/studio/files/sinks.js");
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

test("a change of many deliveries goes on until all are done", async () => {
	const asked = [];
	const answers = [
		{ changed: 500, next: "x" },
		{ changed: 20, next: null },
	];
	const change = async (chosen) => {
		asked.push(chosen);
		return answers.shift();
	};
	assert.equal(await changeAll(change, { sink: "crm" }), 520);
	assert.deepEqual(asked, [{ sink: "crm" }, { sink: "crm", after: "x" }]);
});

test("counts and backlogs read as sentences do", () => {
	assert.equal(countsText({ invalid: 1, stored: 1200 }), "1,200 stored, 1 invalid");
	assert.equal(countsText({}), "none");
	assert.equal(backlogText({ unread: 10000, waiting: 0, dead: 2 }), "10,000 or more to read, 2 dead");
	assert.equal(backlogText({ unread: 0, waiting: 0, dead: 0 }), "nothing");
});

test("a lead tells of each sink when it arrived, what it waits for, or why not", () => {
	const at = "2026-03-10T10:00:00Z";
	assert.equal(deliveryText({ state: "delivered", at }), "10 Mar 2026, 12:00:00");
	assert.match(
		deliveryText({ state: "waiting", since: at, nextAt: at, status: 500, answer: "no" }),
		/^since .*, next try .*: 500 no$/,
	);
	assert.match(deliveryText({ state: "dead", attempts: 10, at, status: null, answer: "refused" }), /: refused$/);
	assert.equal(deliveryText({ state: "unwanted" }), "its filter leaves this lead out");
});
