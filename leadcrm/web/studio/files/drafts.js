// What is typed and not saved yet. It outlives a reload of the page, in this tab and for the person who typed it.

import { DRAFTS, session } from "./api.js";

const read = () => {
	try {
		return new Map(JSON.parse(sessionStorage.getItem(DRAFTS)));
	} catch {
		return new Map();
	}
};

const all = read();

const keyOf = (name) => JSON.stringify([session.actor, name]);

function write() {
	try {
		sessionStorage.setItem(DRAFTS, JSON.stringify([...all]));
	} catch {
		// Where the storage is full, the page remembers it alone.
	}
}

/** By a name that is an id, or begins with one. */
export const drafts = {
	get: (name) => all.get(keyOf(name)),
	set(name, draft) {
		all.set(keyOf(name), draft);
		write();
	},
	delete(name) {
		all.delete(keyOf(name));
		write();
	},
};

/**
 * Remember what is typed for a field of a lead, with the lead as it was when the typing began: what somebody else saves
 * for the field meanwhile is then not overwritten unseen.
 */
export function draftOf(lead, field) {
	const name = `${lead.id}/${field}`;
	const seenIn = ({ id, updatedAt, [field]: value }) => ({ id, updatedAt, [field]: value });
	return {
		/** What is typed; undefined where nothing is. */
		get text() {
			return drafts.get(name)?.text;
		},
		get seen() {
			const seen = drafts.get(name)?.seen;
			return seen && seen[field] !== lead[field] ? seen : lead;
		},
		type(text) {
			drafts.set(name, { text, seen: seenIn(this.seen) });
		},
		/** What is saved after the person was told of another's change is meant to replace it. */
		tell(now) {
			drafts.set(name, { text: this.text, seen: seenIn(now) });
		},
		end: () => drafts.delete(name),
	};
}
