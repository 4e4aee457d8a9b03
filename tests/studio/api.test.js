import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { api, session } from "../../leadcrm/web/studio/files/api.js";
import { json, listeners, reset, server } from "./browser.js";

beforeEach(() => {
	reset();
	session.begin("the-token", "Jānis");
});

test("the token is in the tab's storage alone and in a header, never in an address", async () => {
	await api.leads([["q", "a"]]);
	assert.deepEqual([...localStorage.items.values()], ["Jānis"]);
	assert.deepEqual([...sessionStorage.items.values()], ["the-token", "Jānis"]);
	assert.equal(server.requests[0].headers.authorization, "Bearer the-token");
	assert.equal(server.requests[0].path, "api/leads?q=a");
});

test("signing out forgets the token and keeps the name", () => {
	session.end();
	assert.deepEqual([session.token, session.actor], [null, "Jānis"]);
	assert.equal(sessionStorage.items.size, 0);
});

test("another tab's name changes nobody's name here, and a new tab begins with the last one", async () => {
	session.who = { name: null, role: null, rights: ["work"] };
	localStorage.setItem("leadcrm.actor", "Anna");
	await api.changeMany(["a"], { status: "won" });
	assert.deepEqual([session.actor, server.requests[0].headers["X-Actor"]], ["Jānis", "J%C4%81nis"]);
	sessionStorage.items.clear();
	assert.equal(session.actor, "Anna");
});

test("a tab that relies on the cookie is told that another tab has changed it", () => {
	const told = [];
	session.whenChangedElsewhere(() => told.push(session.actor));
	const change = (key) => listeners.get("storage")({ key });
	change("leadcrm.kept");
	assert.deepEqual(told, []);
	session.keep();
	change("leadcrm.views");
	assert.deepEqual(told, []);
	change("leadcrm.kept");
	// As where all is cleared.
	change(null);
	assert.deepEqual(told, ["Jānis", "Jānis"]);
});

test("a browser that stays signed in has no token, and sends the header beside its cookie", async () => {
	session.who = { name: "Marta", role: "agent", rights: ["read", "work"] };
	session.keep();
	await api.changeMany(["a"], { status: "won" });
	const { headers } = server.requests[0];
	assert.deepEqual([session.isOpen, session.token, session.actor], [true, null, "Marta"]);
	assert.deepEqual([headers["X-Leadcrm"], "authorization" in headers, "X-Actor" in headers], ["studio", false, false]);
	assert.deepEqual([session.may("work"), session.may("export")], [true, false]);
	session.end();
	assert.deepEqual([session.isOpen, session.may("work")], [false, false]);
});

test("a token that is refused in one tab signs no other tab out, which has the cookie", () => {
	session.keep();
	session.begin("a-wrong-token", "Jānis");
	session.end();
	assert.deepEqual([session.token, session.isOpen], [null, true]);
	session.end({ inBrowser: true });
	assert.equal(session.isOpen, false);
});

test("the person's name is sent with a change, encoded for a header", async () => {
	await api.changeMany(["a"], { status: "won" });
	assert.equal(server.requests[0].headers["X-Actor"], "J%C4%81nis");
	assert.equal(server.requests[0].body, '{"ids":["a"],"status":"won"}');
	session.begin("the-token", "");
	await api.changeMany(["a"], { status: "won" });
	assert.equal("X-Actor" in server.requests[1].headers, false);
});

test("a change names the version that was seen, to the microsecond", async () => {
	await api.change({ id: "a", updatedAt: "2026-01-02T03:04:05.000600Z" }, { status: "won" });
	await api.change({ id: "a", updatedAt: "2026-01-02T03:04:05Z" }, { status: "won" });
	const [exact, whole] = server.requests;
	assert.equal(exact.headers["If-Match"], '"20260102030405000600"');
	assert.equal(whole.headers["If-Match"], '"20260102030405000000"');
	assert.deepEqual([exact.method, exact.path, exact.body], ["PATCH", "api/leads/a", '{"status":"won"}']);
});

test("an error carries the server's text and status as they are", async () => {
	server.respond = () => json({ error: "invalid", message: "<b>no</b>" }, 422);
	await assert.rejects(api.lead("a"), {
		message: "<b>no</b>",
		status: 422,
		document: { error: "invalid", message: "<b>no</b>" },
	});
	server.respond = () => json({ error: "not_found" }, 404);
	await assert.rejects(api.lead("a"), { message: "not_found", status: 404 });
});

test("an error without JSON is described by its status", async () => {
	server.respond = () => new Response("<html>", { status: 502 });
	await assert.rejects(api.lead("a"), { message: "the server answered 502", status: 502 });
});

test("a server that cannot be reached is named in plain words", async () => {
	server.respond = () => {
		throw new TypeError("Failed to fetch");
	};
	await assert.rejects(api.lead("a"), { message: "The server cannot be reached.", status: 0 });
});

test("a refused token is reported, and no other error is", async () => {
	const reported = [];
	let asked = null;
	session.whenUnauthorized(() => reported.push(asked));
	for (const status of [401, 403, 412, 503]) {
		asked = status;
		server.respond = () => json({}, status);
		await assert.rejects(api.lead("a"), { status });
	}
	assert.deepEqual(reported, [401]);
});

test("what is no id leads to no other path", async () => {
	const others = [
		"..",
		".",
		"../raw/a",
		"a/../../stats",
		"export?format=csv",
		"stream",
		"export",
		"a?b",
		"a#b",
		"%2e%2e",
		"",
	];
	for (const id of others) {
		for (const ask of [api.lead, api.raw, api.replay]) {
			await assert.rejects(async () => ask(id), { status: 404 });
		}
	}
	assert.equal(server.requests.length, 0);
});
