// Changing leads without overwriting another person's change, and taking a change back.

import { api, session } from "./api.js";
import { longTime } from "./format.js";

const MAX_MERGES = 5;

const NOTHING = { assignedTo: "nobody" };

/** How a value of a lead's field reads. */
export const valueText = (field, value) =>
	field === "callAt" && value ? longTime(value) : value || NOTHING[field] || "none";

const NOBODY = { value: null, label: "nobody" };

/** The values that a lead's status and assignment may have: those of the server, and others met in leads. */
export const choices = {
	statuses: [],
	people: new Set(),
	unknownStatuses: new Set(),

	/** Take the server's lists. */
	set({ statuses, people }) {
		this.statuses = statuses;
		for (const { name } of statuses) this.unknownStatuses.delete(name);
		for (const name of people) this.people.add(name);
	},

	learn(leads) {
		for (const { status, assignedTo } of leads) {
			if (!this.statuses.some(({ name }) => name === status)) this.unknownStatuses.add(status);
			if (assignedTo) this.people.add(assignedTo);
		}
	},

	/** The choices of a field, in their order: each has a value and, where that reads differently, a label. */
	of(field) {
		if (field === "status") {
			const unknown = [...this.unknownStatuses].map((value) => ({ value, isUnknown: true }));
			return [...this.statuses.map(({ name }) => ({ value: name })), ...unknown];
		}
		const me = session.actor ? [{ value: session.actor, label: `${session.actor} (me)` }] : [];
		const others = [...this.people].filter((name) => name !== session.actor).sort();
		return [...me, NOBODY, ...others.map((value) => ({ value }))];
	},

	/** What a status means, and its colour. */
	status(name) {
		return this.statuses.find((status) => status.name === name) ?? { name, meaning: "open", colour: "grey" };
	},
};

/**
 * Change a lead as it was seen. Other people's changes of other fields are kept beside this one; one of the same field
 * is not overwritten. Returns the lead as it is now (null if unknown), whether it is saved, and a message.
 */
export async function changeLead(lead, changes) {
	let seen = lead;
	for (let merges = 0; ; merges += 1) {
		try {
			const changed = await api.change(seen, changes);
			choices.learn([changed]);
			return { lead: changed, isSaved: true, message: "Saved" };
		} catch (error) {
			if (error.status !== 412) return { lead: null, isSaved: false, message: error.message };
			seen = error.document.lead;
			choices.learn([seen]);
			const contested = Object.keys(changes).find((name) => seen[name] !== lead[name] && seen[name] !== changes[name]);
			if (contested || merges === MAX_MERGES) {
				const theirs = contested ? `: it is “${valueText(contested, seen[contested])}” now` : "";
				return { lead: seen, isSaved: false, message: `Somebody else has changed this lead${theirs}.` };
			}
		}
	}
}
