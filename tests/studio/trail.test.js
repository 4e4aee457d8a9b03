// Entries of the audit trail, in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";
import { detailText } from "../../leadcrm/web/studio/files/trail.js";

test("what an entry tells besides is told in words", () => {
	assert.equal(detailText({ country: ["LV", ""], q: "…", status: ["new"] }), "country LV or none, q …, status new");
	assert.equal(detailText({ name: "anna", role: "agent", expiresAt: null }), "name anna, role agent");
	assert.equal(detailText({}), "");
});
