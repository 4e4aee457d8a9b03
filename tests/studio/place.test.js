import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { place } from "../../leadcrm/web/studio/files/place.js";
import { addressBar, reset } from "./browser.js";

beforeEach(() => reset());

test("a filter goes into the address and comes back as it was", () => {
	place.go({ q: "Ā & b=c", status: ["new", "won"], country: "" });
	assert.deepEqual(place.filter, [
		["q", "Ā & b=c"],
		["status", "new"],
		["status", "won"],
		["country", ""],
	]);
});

test("null removes a parameter and an empty list removes all its values", () => {
	reset("?q=a&status=new&status=won&open=1");
	place.go({ q: null, status: [] });
	assert.equal(location.search, "?open=1");
});

test("the filter holds what the API knows and nothing else of the address", () => {
	reset("?view=inbox&open=1&range=week&state=failed&q=a&unknown=b");
	assert.deepEqual(place.filter, [["q", "a"]]);
});

test("without a view in the address it is the leads", () => {
	assert.equal(place.view, "leads");
	reset("?view=overview");
	assert.equal(place.view, "overview");
});

test("going somewhere adds to the history and replacing does not", () => {
	place.go({ open: "1" });
	place.go({ q: "a" }, { replace: true });
	assert.deepEqual(addressBar.past, ["http://localhost/studio"]);
	assert.equal(location.search, "?open=1&q=a");
});

test("the start has an address without a question mark", () => {
	reset("?view=inbox");
	place.visit("?");
	assert.equal(location.href, "http://localhost/studio");
});

test("the listener hears of every change, the back button's too", () => {
	const seen = [];
	place.whenChanged(() => seen.push(location.search));
	place.go({ status: "won" });
	place.go({ status: null });
	history.back();
	history.back();
	assert.deepEqual(seen, ["?status=won", "", "?status=won", ""]);
});
