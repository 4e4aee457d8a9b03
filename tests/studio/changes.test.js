import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { session } from "../../leadcrm/web/studio/files/api.js";
import { changeMany, groupForUndo } from "../../leadcrm/web/studio/files/bulk.js";
import { changeLead, choices } from "../../leadcrm/web/studio/files/changes.js";
import { matching } from "../../leadcrm/web/studio/files/chooser.js";
import { replayMessage } from "../../leadcrm/web/studio/files/replay.js";
import { json, reset, server } from "./browser.js";

const lead = { id: "a", status: "new", assignedTo: "anna", updatedAt: "2026-01-02T03:04:05.000600Z" };
const later = { ...lead, updatedAt: "2026-01-02T03:04:06.000000Z" };

beforeEach(() => {
	reset();
	choices.statuses = [];
	choices.people.clear();
	choices.unknownStatuses.clear();
});

/** Answer as the server does where the lead is `now`: 412 to every other version. */
function serve(now) {
	server.respond = (_path, { headers, body }) => {
		const isSeen = headers["If-Match"].startsWith(`"${now.updatedAt.replace(/\D/g, "")}`);
		return isSeen ? json({ ...now, ...JSON.parse(body) }) : json({ error: "stale", lead: now }, 412);
	};
}

test("a change returns the lead as it is now, and its values are choices from then on", async () => {
	serve(lead);
	const done = await changeLead(lead, { status: "halfway" });
	assert.deepEqual(done, { lead: { ...lead, status: "halfway" }, isSaved: true, message: "Saved" });
	assert.ok(choices.unknownStatuses.has("halfway") && choices.people.has("anna"));
});

test("another person's change of another field is kept beside this one", async () => {
	const theirs = { ...later, assignedTo: "bruno" };
	serve(theirs);
	const done = await changeLead(lead, { status: "won" });
	assert.deepEqual(done, { lead: { ...theirs, status: "won" }, isSaved: true, message: "Saved" });
});

test("another person's change of the same field is not overwritten, and is told", async () => {
	const theirs = { ...later, status: "lost" };
	serve(theirs);
	const done = await changeLead(lead, { status: "won" });
	assert.deepEqual([done.lead, done.isSaved], [theirs, false]);
	assert.match(done.message, /Somebody else has changed this lead: it is “lost” now/);
	assert.equal((await changeLead(done.lead, { status: "won" })).isSaved, true);
});

test("what somebody else has saved is told as it reads", async () => {
	const cases = [
		["callAt", "2026-12-24T09:00:00Z", "24 Dec 2026, "],
		["callAt", null, "“none”"],
		["email", null, "“none”"],
		["assignedTo", null, "“nobody”"],
	];
	for (const [field, theirs, told] of cases) {
		serve({ ...later, [field]: theirs });
		const done = await changeLead({ ...lead, [field]: "before" }, { [field]: "mine" });
		assert.ok(done.message.includes(told), `${field}: ${done.message}`);
	}
});

test("two people who make the same change do not disturb each other", async () => {
	serve({ ...later, status: "won" });
	assert.equal((await changeLead(lead, { status: "won" })).isSaved, true);
});

test("a lead that changes all the time ends the attempts", async () => {
	let number = 0;
	server.respond = () => json({ lead: { ...lead, updatedAt: `2026-01-02T03:04:05.${100000 + ++number}Z` } }, 412);
	assert.equal((await changeLead(lead, { status: "won" })).isSaved, false);
	assert.ok(server.requests.length < 10);
});

test("another error returns no lead and the server's text", async () => {
	server.respond = () => json({ message: "<b>no</b>" }, 400);
	assert.deepEqual(await changeLead(lead, { status: "x" }), { lead: null, isSaved: false, message: "<b>no</b>" });
});

test("statuses are in the order of the server, and unknown ones stand after them", () => {
	choices.learn([{ status: "Called", assignedTo: null }, { status: "called" }]);
	choices.set({
		statuses: [
			{ name: "new", colour: "blue" },
			{ name: "called", colour: "amber" },
		],
		people: [],
	});
	assert.deepEqual(choices.of("status"), [{ value: "new" }, { value: "called" }, { value: "Called", isUnknown: true }]);
	assert.equal(choices.status("called").colour, "amber");
	assert.deepEqual(choices.status("Called"), { name: "Called", meaning: "open", colour: "grey" });
});

test("of the people, the person comes first and nobody second", () => {
	session.begin("t", "marta");
	choices.set({ statuses: [], people: ["anna", "marta"] });
	choices.learn([{ status: "new", assignedTo: "bruno" }]);
	const values = choices.of("assignedTo").map(({ value }) => value);
	assert.deepEqual(values, ["marta", null, "anna", "bruno"]);
});

test("a typed text finds the values that begin with it before those that contain it", () => {
	const all = [{ value: "no answer" }, { value: "answered" }, { value: null, label: "nobody" }];
	assert.deepEqual(matching(all, "ANS"), [all[1], all[0]]);
	assert.deepEqual(matching(all, "nob"), [all[2]]);
	assert.deepEqual(matching(all, ""), all);
});

test("a change of many is taken back to what each lead had, and only where it had changed", () => {
	const before = [
		{ id: "a", status: "new" },
		{ id: "b", status: "won" },
		{ id: "c", status: "new" },
		{ id: "d", status: "lost" },
	];
	assert.deepEqual(groupForUndo(before, { status: "lost" }), [
		{ changes: { status: "new" }, ids: ["a", "c"] },
		{ changes: { status: "won" }, ids: ["b"] },
	]);
});

test("more leads than one request takes are changed in several, and counted together", async () => {
	const ids = Array.from({ length: 2001 }, (_, number) => `id-${number}`);
	server.respond = (_path, { body }) => json({ changed: JSON.parse(body).ids.length, unchanged: 0, missing: [] });
	const progress = [];
	const onProgress = (count) => progress.push(count);
	const done = await changeMany(ids, { status: "won" }, { expected: { status: "new" }, onProgress });
	assert.equal(done.changed, 2001);
	assert.deepEqual(progress, [1000, 2000, 2001]);
	const sent = server.requests.map(({ body }) => JSON.parse(body));
	assert.deepEqual(
		sent.flatMap((request) => request.ids),
		ids,
	);
	assert.deepEqual(sent[2], { ids: ["id-2000"], status: "won", expected: { status: "new" } });
});

test("the message about a replay tells what became of it", () => {
	const message = replayMessage;
	assert.equal(message({ state: "stored", changed: true, leadId: "a" }), "It is a lead now.");
	assert.equal(message({ state: "stored", changed: false, leadId: "a" }), "It is a lead already.");
	assert.match(message({ state: "conflict", leadId: "a" }), /it is a conflict of that one/);
	assert.equal(message({ state: "invalid", leadId: null, error: "<b>" }), "Still invalid: <b>");
	assert.equal(message({ state: "failed", leadId: null, error: null }), "Still failed: no lead can be made of it");
});
