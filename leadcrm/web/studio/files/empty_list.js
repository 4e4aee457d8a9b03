// What stands in for the rows of a list of leads that has none.

import { button, h } from "./dom.js";
import { emptyNote } from "./empty_note.js";
import { reachText } from "./format.js";
import { FILTERS, place } from "./place.js";

/** The note for a filter, which has looked as far as `searched` says. */
export const noteOf = (filter, searched) => (filter.length ? noMatch(searched) : noLeadYet());

function noMatch(searched) {
	const nothing = Object.fromEntries(FILTERS.map((name) => [name, null]));
	const clear = button("Clear search and filters", () => place.go(nothing));
	const how =
		"Search finds how an email, a phone or a last name begins, and any id, key or click id. Offers, countries and others " +
		"are filters.";
	const reach = searched?.from && h("p", {}, `L${reachText(searched).slice(3)}.`);
	return emptyNote("No lead is like that", how, reach, clear);
}

function noLeadYet() {
	const address = new URL("api/lead", location.href.split("?")[0]);
	const lines = [`curl ${address}`, "-H 'Content-Type: application/json'", `-d '{"email": "first@example.com"}'`];
	const command = h("pre", { class: "body" }, lines.join(" \\\n  "));
	return emptyNote("No lead has arrived yet", "The first one shows here by itself:", command);
}
