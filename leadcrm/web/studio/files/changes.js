// Changing a lead's status and assignment, without overwriting another person's change.

import { api } from "./api.js";

/** Values met so far, which fields suggest again: both are free text. */
export const known = { status: new Set(["new", "called", "no answer", "won", "lost"]), assignedTo: new Set() };

export function learn(leads) {
	for (const lead of leads) {
		known.status.add(lead.status);
		if (lead.assignedTo) known.assignedTo.add(lead.assignedTo);
	}
}

/** Change a lead. Returns it as it is now, or null if that is unknown, and the message for the person. */
export async function changeLead(lead, changes) {
	try {
		const changed = await api.change(lead, changes);
		learn([changed]);
		return { lead: changed, message: "Saved", kind: "info" };
	} catch (error) {
		if (error.status === 412) {
			const message = "Somebody else has changed this lead meanwhile. Here is how it is now.";
			return { lead: error.document.lead, message, kind: "error" };
		}
		return { lead: null, message: error.message, kind: "error" };
	}
}
