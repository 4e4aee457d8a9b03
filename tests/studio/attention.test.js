import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { reset } from "./browser.js";

const { newsOf, wishes } = await import("../../leadcrm/web/studio/files/attention.js");

beforeEach(() => reset());

test("news is what has become more of what was asked for, and nothing at the first look", () => {
	assert.equal(newsOf(["due", "mine"], null, { due: 3 }), null);
	assert.equal(newsOf(["due"], { due: 3 }, { due: 3 }), null);
	assert.equal(newsOf(["due"], { due: 3 }, { due: 2 }), null);
	assert.equal(newsOf(["due"], { due: 3, mine: 0 }, { due: 3, mine: 9 }), null);
	const news = newsOf(["due", "mine"], { due: 3, mine: 0 }, { due: 4, mine: 1200 });
	assert.equal(news, "4 calls that are due, 1,200 leads of mine");
});

test("wishes that are kept wrongly are those of the beginning", () => {
	for (const kept of ["{", "null", '{"kinds":"x"}', "[]"]) {
		localStorage.setItem("leadcrm.alerts", kept);
		assert.deepEqual(wishes.kept, { kinds: ["unassigned", "due"], sound: false, desktop: false }, kept);
	}
	wishes.keep({ kinds: ["mine", "constructor"], sound: true });
	assert.deepEqual(wishes.kept, { kinds: ["mine"], sound: true, desktop: false });
});
