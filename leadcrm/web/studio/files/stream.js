// The feed as the server sends it, by server-sent events over fetch: each lead and each change, none left out.

import { request, session } from "./api.js";

const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 15000;
const LOOK_MS = 5000;
/** The server says something every 15 s: after that long it is not there, whatever the browser believes, as after a sleep. */
const MAX_SILENCE_MS = 40_000;
const CHANNEL = "leadcrm.stream";

/** What the list takes one by one; after more than that at once it is read again. */
const MAX_AT_ONCE = 100;

/**
 * Listen while the person is signed in, and go on after every interruption where it was.
 *
 * onMissed is called where it is not known what came meanwhile.
 */
export async function listen(handlers) {
	const { onState, onMissed } = handlers;
	const turns = new Turns();
	let pause = FIRST_PAUSE_MS;
	let place = null;
	let isFirst = true;
	while (session.isOpen) {
		const turn = await turns.take();
		try {
			const headers = place ? { "Last-Event-ID": place } : {};
			const response = await request("api/leads/stream", { headers, signal: turn.signal });
			onState("live");
			if (!(isFirst || place)) onMissed();
			pause = FIRST_PAUSE_MS;
			for await (const events of readEvents(response.body, turn.heard)) {
				place = events.findLast(({ id }) => id)?.id ?? place;
				if (events.some(({ name }) => name === "gone")) place = null;
				announce(events, handlers);
			}
		} catch (error) {
			if (error.status === 401 || error.status === 403) return;
			if (error.status === 410) place = null;
		} finally {
			turn.end();
		}
		isFirst = false;
		onState("away");
		const delay = pause;
		await new Promise((resume) => setTimeout(resume, delay));
		pause = Math.min(pause * 2, MAX_PAUSE_MS);
	}
}

/**
 * The turns of a tab to listen. A browser has six connections to a server for all its tabs, unless a proxy speaks HTTP/2:
 * a tab that nobody looks at leaves its own to the next one that listens, and takes a turn once it is looked at.
 */
class Turns {
	constructor() {
		this.isLeft = false;
		this.leave = () => {};
		this.tabs = new BroadcastChannel(CHANNEL);
		this.tabs.onmessage = () => {
			if (!document.hidden) return;
			this.isLeft = true;
			this.leave();
		};
		// In Node it would keep a test from ending.
		this.tabs.unref?.();
	}

	/** Wait for a turn. Its signal ends what is under way; `heard` is to be called for whatever comes. */
	async take() {
		while (this.isLeft && document.hidden) {
			await new Promise((looked) => document.addEventListener("visibilitychange", looked, { once: true }));
		}
		this.isLeft = false;
		this.tabs.postMessage("listening");
		const ending = new AbortController();
		this.leave = () => ending.abort();
		let heardAt = Date.now();
		const looking = setInterval(() => Date.now() - heardAt > MAX_SILENCE_MS && ending.abort(), LOOK_MS);
		return {
			signal: ending.signal,
			heard: () => {
				heardAt = Date.now();
			},
			end: () => clearInterval(looking),
		};
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
export async function* readEvents(bytes, onHeard = () => {}) {
	const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
	let incomplete = "";
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return;
		onHeard();
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
