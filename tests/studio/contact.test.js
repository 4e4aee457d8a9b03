import assert from "node:assert/strict";
import { test } from "node:test";
import { dialed, whatsAppNumber } from "../../leadcrm/web/studio/files/contact.js";

test("a telephone dials the digits, with a plus where the number has one", () => {
	assert.equal(dialed("+371 26 123-456"), "tel:+37126123456");
	assert.equal(dialed("26 123 456"), "tel:26123456");
	assert.equal(dialed("javascript:alert(1)"), "tel:1");
});

test("WhatsApp gets the number with its country, and none where the country is not known", () => {
	assert.equal(whatsAppNumber("+371 26 123-456"), "37126123456");
	assert.equal(whatsAppNumber("0037126123456"), "37126123456");
	assert.equal(whatsAppNumber("37126123456"), "37126123456");
	assert.equal(whatsAppNumber("+44 (0)20 7946 0958"), "442079460958");
	assert.equal(whatsAppNumber("26123456"), null);
	assert.equal(whatsAppNumber("020 7946 0958"), null);
	assert.equal(whatsAppNumber("+12"), null);
});
