import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Rows } from "../../leadcrm/web/studio/files/rows.js";

const items = (...ids) => ids.map((id) => ({ id }));
const ids = (rows) => rows.items.map((item) => item.id);

const { setTimeout } = globalThis;
let timers = [];
let rows;
let changes;

beforeEach(() => {
	timers = [];
	globalThis.setTimeout = (callback) => timers.push(callback);
	changes = 0;
	rows = new Rows();
	rows.onChange = () => {
		changes += 1;
	};
	rows.replace(items("c", "b", "a"), true);
});

afterEach(() => {
	globalThis.setTimeout = setTimeout;
});

test("a row that is in the list is not added again, at either end", () => {
	rows.prepend(items("d", "c"));
	rows.append(items("a", "0", "d"), true);
	assert.deepEqual(ids(rows), ["d", "c", "b", "a", "0"]);
});

test("rows that are added are marked as new until a while has passed", () => {
	rows.prepend(items("d", "c"));
	assert.deepEqual([...rows.added], ["d"]);
	for (const callback of timers) callback();
	assert.deepEqual([...rows.added], []);
});

test("the current row stays current when rows are added above it", () => {
	rows.setCurrent(1);
	rows.prepend(items("e", "d", "c"));
	assert.equal(rows.currentItem.id, "b");
});

test("without a current row there is none after rows are added either", () => {
	rows.prepend(items("d"));
	assert.equal(rows.currentItem, null);
});

test("the current row stays within the list", () => {
	rows.setCurrent(7);
	assert.equal(rows.currentItem.id, "a");
	rows.setCurrent(-3);
	assert.equal(rows.currentItem.id, "c");
	rows.setCurrent(2);
	rows.replace(items("x"), false);
	assert.equal(rows.currentItem.id, "x");
	rows.replace([], false);
	assert.equal(rows.currentItem, null);
});

test("the current row stays on its item among other rows", () => {
	rows.setCurrent(1);
	rows.replace(items("z", "y", "b"), false);
	assert.equal(rows.currentItem.id, "b");
});

test("the row of what is open is current, and none is where it has no row", () => {
	rows.setCurrent(1);
	rows.setCurrentItem("a");
	assert.equal(rows.currentItem.id, "a");
	rows.setCurrentItem(null);
	assert.equal(rows.currentItem.id, "a");
	rows.setCurrentItem("elsewhere");
	assert.equal(rows.currentItem, null);
});

test("an update replaces the row with that id and no other", () => {
	rows.update({ id: "b", status: "won" });
	rows.update({ id: "unknown" });
	assert.deepEqual(rows.items, [{ id: "c" }, { id: "b", status: "won" }, { id: "a" }]);
});

test("a selection survives rows that are added", () => {
	rows.select("b", true);
	rows.select("a", true);
	rows.select("a", false);
	rows.prepend(items("d"));
	rows.append(items("0"), false);
	assert.deepEqual([...rows.selected], ["b"]);
	rows.selectOnly(["c", "d"]);
	assert.deepEqual([...rows.selected], ["c", "d"]);
});

test("every change is drawn", () => {
	const before = changes;
	rows.append([], false);
	rows.prepend([]);
	rows.update({ id: "a" });
	rows.setCurrent(0);
	rows.select("a", true);
	rows.selectOnly([]);
	assert.equal(changes - before, 6);
	assert.equal(rows.hasMore, false);
});
