import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { changeLead, known, learn } from "../../leadcrm/web/studio/files/changes.js";
import { changedValue } from "../../leadcrm/web/studio/files/edit.js";
import { replayMessage } from "../../leadcrm/web/studio/files/replay.js";
import { json, reset, server } from "./browser.js";

const lead = { id: "a", status: "new", assignedTo: "anna", updatedAt: "2026-01-02T03:04:05.000600Z" };

beforeEach(() => reset());

test("a change returns the lead as it is now, and its values are suggested from then on", async () => {
	const now = { ...lead, status: "halfway", assignedTo: "bruno" };
	server.respond = () => json(now);
	assert.deepEqual(await changeLead(lead, { status: "halfway" }), { lead: now, message: "Saved", kind: "info" });
	assert.ok(known.status.has("halfway") && known.assignedTo.has("bruno"));
});

test("after another person's change the lead is theirs and the message says so", async () => {
	const theirs = { ...lead, status: "theirs" };
	server.respond = () => json({ error: "stale", lead: theirs }, 412);
	const changed = await changeLead(lead, { status: "mine" });
	assert.deepEqual([changed.lead, changed.kind], [theirs, "error"]);
	assert.match(changed.message, /Somebody else has changed this lead/);
	assert.equal(known.status.has("mine"), false);
});

test("another error returns no lead and the server's text", async () => {
	server.respond = () => json({ message: "<b>no</b>" }, 400);
	assert.deepEqual(await changeLead(lead, { status: "x" }), { lead: null, message: "<b>no</b>", kind: "error" });
});

test("nobody is no suggestion", () => {
	learn([{ status: "new", assignedTo: null }]);
	assert.equal(known.assignedTo.has(null), false);
});

test("a text that changes nothing is not saved", () => {
	assert.equal(changedValue(lead, "status", " new "), undefined);
	assert.equal(changedValue(lead, "status", "  "), undefined);
	assert.equal(changedValue(lead, "assignedTo", "anna"), undefined);
	assert.equal(changedValue({ assignedTo: null }, "assignedTo", ""), undefined);
});

test("a text is saved without the blanks around it, and an emptied assignment is nobody", () => {
	assert.equal(changedValue(lead, "status", " won "), "won");
	assert.equal(changedValue(lead, "assignedTo", " "), null);
});

test("the message about a replay tells what became of it", () => {
	const message = replayMessage;
	assert.equal(message({ state: "stored", changed: true, leadId: "a" }), "It is a lead now.");
	assert.equal(message({ state: "stored", changed: false, leadId: "a" }), "It is a lead already.");
	assert.match(message({ state: "conflict", leadId: "a" }), /it is a conflict of that one/);
	assert.equal(message({ state: "invalid", leadId: null, error: "<b>" }), "Still invalid: <b>");
	assert.equal(message({ state: "failed", leadId: null, error: null }), "Still failed: no lead can be made of it");
});
