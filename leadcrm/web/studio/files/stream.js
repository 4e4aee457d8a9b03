// New leads and changes as the server announces them, by server-sent events over fetch.

import { request, session } from "./api.js";

const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 15000;

/** Listen while the person is signed in, and reconnect after every interruption. */
export async function listen({ onState, onLeads, onChanges }) {
	const handlers = { leads: onLeads, changes: onChanges };
	let pause = FIRST_PAUSE_MS;
	while (session.token) {
		try {
			const response = await request("api/leads/stream");
			onState("live");
			pause = FIRST_PAUSE_MS;
			for await (const { name, data } of readEvents(response.body)) handlers[name]?.(data);
		} catch (error) {
			if (error.status === 401 || error.status === 403) return;
		}
		onState("away");
		const delay = pause;
		await new Promise((resume) => setTimeout(resume, delay));
		pause = Math.min(pause * 2, MAX_PAUSE_MS);
	}
}

/** Yield the events of a stream of bytes, however they are cut into chunks. */
export async function* readEvents(bytes) {
	const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
	let incomplete = "";
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return;
		const blocks = (incomplete + value).split("\n\n");
		incomplete = blocks.pop();
		for (const block of blocks) {
			const lines = block.split("\n");
			const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
			const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
			if (name && data) yield { name, data: JSON.parse(data) };
		}
	}
}
