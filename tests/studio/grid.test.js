import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { reset } from "./browser.js";

const { arrangement, nextSort } = await import("../../leadcrm/web/studio/files/columns.js");
const { chipText } = await import("../../leadcrm/web/studio/files/filters.js");
const { place } = await import("../../leadcrm/web/studio/files/place.js");
const { queryOf, saved } = await import("../../leadcrm/web/studio/files/saved.js");
const { optionsFor } = await import("../../leadcrm/web/studio/files/values.js");

beforeEach(() => reset());

const KNOWN = [{ value: "Gold" }, { value: "" }, { value: "Old gold" }, { value: "Silver" }];
const reads = (options) => options.map(({ value, part, label }) => label ?? value ?? part);

test("a text in a filter means known values, then its part, then itself", () => {
	assert.deepEqual(reads(optionsFor("", KNOWN)), ["none", "Gold", "Old gold", "Silver"]);
	assert.deepEqual(reads(optionsFor("gold", KNOWN)), ["Gold", "Old gold", "contains “gold”", "exactly “gold”"]);
	assert.deepEqual(reads(optionsFor("Gold", KNOWN)), ["Gold", "Old gold", "contains “Gold”"]);
	assert.deepEqual(reads(optionsFor("no", [], { isPerson: true, me: "anna" })), [
		"nobody",
		"contains “no”",
		"exactly “no”",
	]);
	assert.equal(optionsFor("me", [{ value: "melanie" }], { isPerson: true, me: "anna" })[0].value, "anna");
	assert.deepEqual(optionsFor("anna", [{ value: "anna" }], { isPerson: true, me: "anna" })[0].value, "anna");
});

test("a head sorts in its column's own order first, and the other way round the next time", () => {
	const [time, status] = [{ sort: "updated" }, { sort: "status", isAscending: true }];
	assert.equal(nextSort("-arrived", time), "-updated");
	assert.equal(nextSort("-updated", time), "updated");
	assert.equal(nextSort("updated", time), "-updated");
	assert.equal(nextSort("-arrived", status), "status");
	assert.equal(nextSort("status", status), "-status");
});

test("an order in the address counts unless it is none or there is a search", () => {
	const orders = ["", "?sort=-updated", "?sort=drop", "?sort=status&q=a"].map((search) => {
		reset(search);
		return place.sort;
	});
	assert.deepEqual(orders, ["-arrived", "-updated", "-arrived", "-arrived"]);
});

test("columns that are kept wrongly are those of the beginning", () => {
	for (const kept of ["{", "null", '{"columns":["nothing","constructor"]}', '{"columns":5}', "[]"]) {
		localStorage.setItem("leadcrm.columns", kept);
		assert.equal(arrangement.isOwn, false, kept);
		assert.equal(arrangement.columns[0], "time");
	}
	arrangement.keep({ columns: ["id", "name", "id"] });
	assert.deepEqual([arrangement.columns, arrangement.isCompact], [["id", "name"], false]);
});

test("a saved view is its filter and order, and one of the same name is replaced", () => {
	const query = queryOf([["offer", "Gold & co"]], "-updated");
	assert.equal(query, "offer=Gold+%26+co&sort=-updated");
	saved.add("Mine", "a=1");
	saved.add("Mine", query);
	assert.deepEqual(saved.views, [{ name: "Mine", query }]);
	saved.remove(query);
	localStorage.setItem("leadcrm.views", '[{"name":1}]');
	assert.deepEqual(saved.views, []);
});

test("a part of the filter reads as what it asks for", () => {
	assert.equal(chipText("contains", "offer:a:b"), "Offer contains a:b");
	assert.equal(chipText("assignedTo", ""), "Assigned to: nobody");
	assert.equal(chipText("country", ""), "Country: none");
});

test("widths that are kept wrongly are none, and others stay within what a column may have", () => {
	localStorage.setItem(
		"leadcrm.columns",
		'{"widths":{"name":"wide","phone":5000,"email":-3,"nothing":90,"offer":80.4}}',
	);
	assert.deepEqual(arrangement.widths, { phone: 1200, offer: 80 });
	localStorage.setItem("leadcrm.columns", '{"widths":7}');
	assert.deepEqual(arrangement.widths, {});
});

test("a saved view has columns and widths of its own", () => {
	arrangement.keep({ columns: ["name", "phone"], widths: { name: 300 } });
	saved.add("Gold", "offer=Gold", arrangement.kept);
	history.replaceState(null, "", "?offer=Gold");
	arrangement.keep({ columns: ["id"], widths: { id: 400 } });
	assert.deepEqual([arrangement.columns, arrangement.widths], [["id"], { id: 400 }]);
	history.replaceState(null, "", "?");
	assert.deepEqual([arrangement.columns, arrangement.widths], [["name", "phone"], { name: 300 }]);
});
