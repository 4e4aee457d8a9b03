// Replaying a request of the inbox, so that it becomes a lead.

import { api, session } from "./api.js";
import { button, notice } from "./dom.js";

const REPLAYABLE = ["failed", "invalid", "unverified", "unrouted", "conflict", "event"];

/** A button that replays a request, or null where that cannot help. `onReplayed` is called with the result. */
export function replayButton({ id, state }, onReplayed, properties) {
	if (!REPLAYABLE.includes(state) || !session.may("replay")) return null;
	return button("Replay", (event) => replay(id, event.target, onReplayed), properties);
}

async function replay(id, pressed, onReplayed) {
	pressed.disabled = true;
	try {
		const done = await api.replay(id);
		notice(replayMessage(done), done.leadId ? "info" : "error");
		onReplayed(done);
	} catch (error) {
		notice(error.message, "error");
	}
	pressed.disabled = false;
}

/** The message about a replay. */
export function replayMessage({ state, changed, leadId, error }) {
	if (state === "stored") return changed ? "It is a lead now." : "It is a lead already.";
	if (leadId) return `Its key belongs to another lead: it is a ${state} of that one.`;
	return `Still ${state}: ${error ?? "no lead can be made of it"}`;
}
