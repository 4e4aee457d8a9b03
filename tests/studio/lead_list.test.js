import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { choices } from "../../leadcrm/web/studio/files/changes.js";
import { Grid } from "../../leadcrm/web/studio/files/grid.js";
import { LeadList } from "../../leadcrm/web/studio/files/lead_list.js";
import { Rows } from "../../leadcrm/web/studio/files/rows.js";
import { deferred, json, page, reset, server } from "./browser.js";

const MARKED = [["marker", "m"]];
const lead = (id, status = "new") => ({ id, status, assignedTo: null });
const query = (request) => new URL(request.path, "http://localhost").searchParams;

let rows;
let list;

beforeEach(() => {
	reset();
	rows = new Rows();
	list = new LeadList(rows);
});

async function load(leads, { filter = [], next = null } = {}) {
	server.respond = () => page(leads, next);
	await list.load(filter);
	server.requests = [];
}

const ids = () => rows.items.map((item) => item.id);

test("a load asks for the filter's first page", async () => {
	server.respond = () => page([lead("b"), lead("a")], "cursor");
	assert.equal(await list.load(MARKED), true);
	assert.equal(server.requests[0].path, "api/leads?marker=m&limit=100");
	assert.deepEqual([ids(), rows.hasMore], [["b", "a"], true]);
});

test("the next page is asked for by the cursor of the last one, until there is none", async () => {
	await load([lead("c")], { filter: MARKED, next: "first" });
	server.respond = () => page([lead("b")], "second");
	assert.equal(await list.loadMore(), true);
	server.respond = () => page([lead("a")]);
	assert.equal(await list.loadMore(), true);
	assert.equal(await list.loadMore(), false);
	assert.deepEqual(
		server.requests.map((request) => query(request).get("cursor")),
		["first", "second"],
	);
	assert.deepEqual(
		server.requests.map((request) => query(request).get("marker")),
		["m", "m"],
	);
	assert.deepEqual([ids(), rows.hasMore], [["c", "b", "a"], false]);
});

test("a page of an older load is dropped, though its filter is the same", async () => {
	await load([lead("b")], { filter: MARKED, next: "cursor" });
	const late = deferred();
	server.respond = () => late.promise;
	const more = list.loadMore();
	await load([lead("x")], { filter: MARKED, next: "other" });
	late.resolve(page([lead("a")]));
	assert.equal(await more, false);
	assert.deepEqual([ids(), list.next, rows.hasMore], [["x"], "other", true]);
});

test("the list goes on though a page of an older filter comes after its first one", async () => {
	await load([lead("b")], { filter: MARKED, next: "cursor" });
	let drawn = 0;
	const draw = () => {
		drawn++;
		if (rows.hasMore) grid.fetch();
	};
	const grid = Object.assign(Object.create(Grid.prototype), { rows, draw, more: () => list.loadMore() });
	rows.onChange = draw;
	const late = deferred();
	server.respond = () => late.promise;
	draw();
	await load([lead("x")], { next: "other" });
	server.respond = (path) => (path.includes("cursor=other") ? page([lead("w")]) : deferred().promise);
	late.resolve(page([lead("a")]));
	for (let turns = 0; turns < 50 && rows.hasMore; turns++) await new Promise(setImmediate);
	assert.deepEqual([ids(), rows.hasMore], [["x", "w"], false]);
	drawn = 0;
	server.respond = () => deferred().promise;
	rows.hasMore = true;
	draw();
	for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate);
	assert.equal(drawn, 1, "where no page is to be had, the list does not ask again by itself");
});

test("a list whose next page failed offers to try again", async () => {
	await load([lead("b")], { next: "cursor" });
	const offered = [];
	const note = { replaceChildren: (...parts) => offered.push(...parts) };
	const element = { setAttribute: () => {}, addEventListener: () => {}, append: (...parts) => offered.push(...parts) };
	globalThis.document = { createElement: () => element };
	const parts = { rows, note, draw: () => {}, more: () => list.loadMore() };
	const grid = Object.assign(Object.create(Grid.prototype), parts);
	server.respond = () => json({ message: "away" }, 503);
	await assert.rejects(grid.fetch(), { message: "away" });
	assert.deepEqual(offered, ["Try again", element]);
	server.respond = () => page([lead("a")]);
	await grid.fetch();
	assert.deepEqual([ids(), rows.hasMore], [["b", "a"], false]);
});

test("no page is asked for by an old cursor while a load is under way", async () => {
	await load([lead("b")], { next: "cursor" });
	server.respond = () => deferred().promise;
	list.load(MARKED);
	await list.loadMore();
	assert.equal(server.requests.length, 1);
});

test("a later load ends the one before", async () => {
	server.respond = () => deferred().promise;
	const first = list.load([["q", "a"]]);
	server.respond = () => page([lead("ab")]);
	assert.equal(await list.load([["q", "ab"]]), true);
	assert.equal(await first, false);
	assert.deepEqual([ids(), list.isLoading], [["ab"], false]);
});

test("an answer that is being read when a later load begins is dropped", async () => {
	let second = null;
	server.respond = () => {
		const response = page([lead("old")]);
		const document = response.json();
		response.json = () => {
			server.respond = () => page([lead("new")]);
			second = list.load([]);
			return document;
		};
		return response;
	};
	assert.equal(await list.load([]), false);
	assert.equal(await second, true);
	assert.deepEqual(ids(), ["new"]);
});

test("a load clears the selection and what waited, and an error leaves the rows", async () => {
	await load([lead("a")]);
	rows.select("a", true);
	await list.announce({ leads: [lead("b")], more: true });
	server.respond = () => json({ message: "<b>away</b>" }, 503);
	await assert.rejects(list.load([]), { message: "<b>away</b>", status: 503 });
	assert.deepEqual([ids(), rows.selected.size, list.hasNews, list.isLoading], [["a"], 0, false, false]);
});

test("an announced test lead is new only where the filter asks for tests", async () => {
	const announced = { leads: [{ ...lead("t"), isTest: true }, lead("b")], more: false };
	await load([lead("a")]);
	assert.equal(await list.announce(announced), true);
	assert.deepEqual(
		list.waiting.map(({ id }) => id),
		["b"],
	);
	await load([lead("a")], { filter: [["tests", "only"]] });
	server.respond = () => page([announced.leads[0]]);
	assert.equal(await list.announce(announced), true);
	assert.deepEqual(query(server.requests[0]).getAll("id"), ["t", "b"]);
	await load([lead("a")], { filter: MARKED });
	assert.equal(await list.announce({ leads: [announced.leads[0]], more: false }), false);
	assert.deepEqual(server.requests, []);
});

test("without a filter every announced lead is new, and the server is not asked", async () => {
	await load([lead("a")]);
	assert.equal(await list.announce({ leads: [lead("c"), lead("b")], more: false }), true);
	list.showWaiting();
	assert.deepEqual([ids(), server.requests.length, list.hasNews], [["c", "b", "a"], 0, false]);
});

test("with a filter the server says which of the announced leads match", async () => {
	await load([lead("a")], { filter: MARKED });
	server.respond = () => page([lead("d"), lead("b")]);
	assert.equal(await list.announce({ leads: [lead("d"), lead("c"), lead("b")], more: false }), true);
	assert.equal(server.requests[0].path, "api/leads?marker=m&id=d&id=c&id=b&limit=3");
	list.showWaiting();
	assert.deepEqual(ids(), ["d", "b", "a"]);
});

test("announced leads that do not match are no news", async () => {
	await load([], { filter: MARKED });
	server.respond = () => page([]);
	assert.equal(await list.announce({ leads: [lead("b")], more: false }), false);
	assert.equal(list.hasNews, false);
});

test("leads that are announced one after the other wait newest first", async () => {
	await load([lead("a")]);
	await list.announce({ leads: [lead("b")], more: false });
	await list.announce({ leads: [lead("d"), lead("c")], more: false });
	assert.deepEqual(ids(), ["a"]);
	list.showWaiting();
	assert.deepEqual(ids(), ["d", "c", "b", "a"]);
});

test("an answer about announced leads is dropped after the filter has changed", async () => {
	await load([lead("a")], { filter: MARKED });
	const late = deferred();
	server.respond = () => late.promise;
	const announced = list.announce({ leads: [lead("b")], more: true });
	await load([lead("x")], { filter: [["marker", "n"]] });
	late.resolve(page([lead("b")]));
	assert.equal(await announced, false);
	assert.equal(list.hasNews, false);
});

test("a lead that is announced during a load waits for its end and comes once", async () => {
	const late = deferred();
	server.respond = () => late.promise;
	const loading = list.load([]);
	await list.announce({ leads: [lead("b"), lead("a")], more: false });
	assert.equal(list.isLoading, true);
	late.resolve(page([lead("a")]));
	await loading;
	assert.equal(list.hasNews, true);
	list.showWaiting();
	assert.deepEqual(ids(), ["b", "a"]);
});

test("leads that were not announced, or could not be checked, count as missed until the next load", async () => {
	await load([]);
	assert.equal(await list.announce({ leads: [], more: true }), true);
	assert.equal(list.hasMissed, true);
	await load([], { filter: MARKED });
	assert.equal(list.hasMissed, false);
	server.respond = () => json({}, 503);
	assert.equal(await list.announce({ leads: [lead("a")], more: false }), true);
	assert.equal(list.hasMissed, true);
	await list.announce({ leads: [], more: false });
	assert.equal(list.hasMissed, true);
});

test("only changed leads that the list holds are read again", async () => {
	await load([lead("b"), lead("a")]);
	server.respond = () => json({ lead: lead("a", "won") });
	await list.refresh(["x", "a"]);
	assert.deepEqual(
		server.requests.map((request) => request.path),
		["api/leads/a"],
	);
	assert.deepEqual(rows.items, [lead("b"), lead("a", "won")]);
});

test("a lead that was erased is held no more, neither in the list nor among those that wait", async () => {
	await load([lead("b"), lead("a")]);
	await list.announce({ leads: [lead("d"), lead("c")], more: false });
	rows.selectOnly(["a", "b"]);
	server.respond = () => json({ lead: null, raw: { erased: true } });
	assert.equal(await list.refresh(["a", "c", "x"]), 1);
	assert.deepEqual([ids(), [...rows.selected], list.waiting.map(({ id }) => id)], [["b"], ["b"], ["d"]]);
});

test("a lead that changes before it is shown is shown as it is then", async () => {
	await load([lead("a")]);
	await list.announce({ leads: [{ ...lead("b"), storedAt: "then" }], more: false });
	server.respond = () => json({ lead: lead("b", "won") });
	await list.refresh(["b"]);
	list.showWaiting();
	assert.deepEqual(rows.items, [{ ...lead("b", "won"), storedAt: "then" }, lead("a")]);
});

test("an older answer that comes late changes nothing", async () => {
	const at = (second, status) => ({ ...lead("a", status), updatedAt: `2026-01-02T03:04:${second}Z` });
	await load([at("05", "new")]);
	const late = deferred();
	server.respond = () => late.promise;
	const first = list.refresh(["a"]);
	server.respond = () => json({ lead: at("06.5", "won") });
	await list.refresh(["a"]);
	late.resolve(json({ lead: at("06", "called") }));
	await first;
	assert.deepEqual(rows.items, [at("06.5", "won")]);
});

test("a changed lead that cannot be read stays as it is", async () => {
	await load([lead("b"), lead("a")]);
	server.respond = (path) => (path.endsWith("b") ? json({}, 503) : json({ lead: lead("a", "won") }));
	await list.refresh(["b", "a"]);
	assert.deepEqual(rows.items, [lead("b"), lead("a", "won")]);
});

test("statuses of loaded and announced leads are suggested from then on", async () => {
	await load([lead("a", "from a page")], { next: "cursor" });
	server.respond = () => page([lead("b", "from a later page")]);
	await list.loadMore();
	await list.announce({ leads: [lead("c", "announced")], more: false });
	for (const status of ["from a page", "from a later page", "announced"]) {
		assert.ok(choices.unknownStatuses.has(status), status);
	}
});
