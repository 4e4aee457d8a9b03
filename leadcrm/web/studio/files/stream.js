// The feed as the server sends it, by server-sent events over fetch: each lead and each change, none left out.

import { request, session } from "./api.js";

const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 15000;

/** What the list takes one by one; after more than that at once it is read again. */
const MAX_AT_ONCE = 100;

/**
 * Listen while the person is signed in, and go on after every interruption where it was.
 *
 * onMissed is called where it is not known what came meanwhile.
 */
export async function listen(handlers) {
	const { onState, onMissed } = handlers;
	let pause = FIRST_PAUSE_MS;
	let place = null;
	let isFirst = true;
	while (session.isOpen) {
		try {
			const response = await request("api/leads/stream", place ? { headers: { "Last-Event-ID": place } } : {});
			onState("live");
			if (!(isFirst || place)) onMissed();
			pause = FIRST_PAUSE_MS;
			for await (const events of readEvents(response.body)) {
				place = events.findLast(({ id }) => id)?.id ?? place;
				if (events.some(({ name }) => name === "gone")) place = null;
				announce(events, handlers);
			}
		} catch (error) {
			if (error.status === 401 || error.status === 403) return;
			if (error.status === 410) place = null;
		}
		isFirst = false;
		onState("away");
		const delay = pause;
		await new Promise((resume) => setTimeout(resume, delay));
		pause = Math.min(pause * 2, MAX_PAUSE_MS);
	}
}

function announce(events, { onLeads, onChanges }) {
	const created = events.filter(({ name }) => name === "lead.created").map(({ data }) => createdLead(data));
	const leads = created.filter(Boolean).reverse();
	if (leads.length) onLeads({ leads: leads.slice(0, MAX_AT_ONCE), more: leads.length > MAX_AT_ONCE });
	const others = events.filter(({ name }) => /^lead\.(?!created$)/.test(name)).map(({ data }) => data.leadId);
	const ids = [...new Set(others)];
	if (ids.length) onChanges({ ids: ids.slice(0, MAX_AT_ONCE), more: ids.length > MAX_AT_ONCE });
}

/** A lead with the time at which it was stored; null where it is gone already. */
const createdLead = ({ lead, at }) => lead && { ...lead, storedAt: at };

/** Yield the events of a stream of bytes, those together that came together, however the bytes are cut into chunks. */
export async function* readEvents(bytes) {
	const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
	let incomplete = "";
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return;
		const blocks = (incomplete + value).split("\n\n");
		incomplete = blocks.pop();
		const events = blocks.map(parseEvent).filter(({ id, name }) => id || name);
		if (events.length) yield events;
	}
}

function parseEvent(block) {
	const lines = block.split("\n");
	const textOf = (field) => lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2);
	const [id, name, data] = ["id", "event", "data"].map(textOf);
	return { id, name, data: data && JSON.parse(data) };
}
