// Putting requests out of the inbox: one, or all that are like it.

import { api, session } from "./api.js";
import { button, notice } from "./dom.js";
import { formatNumber } from "./format.js";
import { offerUndo } from "./undo.js";

const MAX_IDS = 1000;
const ARCHIVABLE = ["failed", "invalid", "conflict", "repeat", "unrouted", "unverified", "event", "batch"];

/** The buttons that put a request out of the inbox, or bring it back; `onDone` is called once that is done. */
export function archiveButtons({ id, state }, isArchived, onDone) {
	if (!ARCHIVABLE.includes(state) || !session.may("bulk")) return [];
	if (isArchived) return [button("Bring back", () => bringBack([id], onDone), { class: "quiet" })];
	return [
		button("Archive", () => archive({ ids: [id] }, onDone), { class: "quiet", "data-control": "archive" }),
		button("All like this", () => archiveLike(id, onDone), {
			class: "quiet",
			title: "Archive all of the same state, reason and source",
		}),
	];
}

export async function archive(asked, onDone) {
	try {
		const { ids } = await api.archive(asked);
		offer(ids, onDone);
		onDone();
	} catch (error) {
		notice(error.message, "error");
	}
}

async function archiveLike(id, onDone) {
	const all = [];
	try {
		for (;;) {
			const { ids } = await api.archive({ like: id });
			all.push(...ids);
			if (ids.length < MAX_IDS) break;
		}
	} catch (error) {
		notice(error.message, "error");
	}
	offer(all, onDone);
	onDone();
}

function offer(ids, onDone) {
	if (ids.length) offerUndo(`${formatNumber(ids.length)} archived`, () => bringBack(ids, onDone));
}

async function bringBack(ids, onDone) {
	for (let start = 0; start < ids.length; start += MAX_IDS) {
		await api.archive({ ids: ids.slice(start, start + MAX_IDS), archived: false });
	}
	onDone();
	return `${formatNumber(ids.length)} brought back`;
}
