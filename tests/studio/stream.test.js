import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { session } from "../../leadcrm/web/studio/files/api.js";
import { listen, readEvents } from "../../leadcrm/web/studio/files/stream.js";
import { json, reset, server } from "./browser.js";

const ENCODER = new TextEncoder();

function streamOf(...chunks) {
	return new ReadableStream({
		start(controller) {
			for (const chunk of chunks) controller.enqueue(typeof chunk === "string" ? ENCODER.encode(chunk) : chunk);
			controller.close();
		},
	});
}

async function eventsOf(...chunks) {
	const events = [];
	for await (const event of readEvents(streamOf(...chunks))) events.push(event);
	return events;
}

const TEXT = ': listening\n\nevent: leads\ndata: {"name":"Jānis 😀"}\n\nevent: changes\ndata: {"ids":[]}\n\n';
const EVENTS = [
	{ name: "leads", data: { name: "Jānis 😀" } },
	{ name: "changes", data: { ids: [] } },
];

test("events arrive whole, wherever the stream is cut in two", async () => {
	const bytes = ENCODER.encode(TEXT);
	for (let cut = 0; cut <= bytes.length; cut += 1) {
		assert.deepEqual(await eventsOf(bytes.slice(0, cut), bytes.slice(cut)), EVENTS, `cut at byte ${cut}`);
	}
});

test("events arrive when every byte is a chunk of its own", async () => {
	assert.deepEqual(await eventsOf(...[...ENCODER.encode(TEXT)].map((byte) => Uint8Array.of(byte))), EVENTS);
});

test("a heartbeat is no event, and an event without its end is none yet", async () => {
	assert.deepEqual(await eventsOf(": still here\n\n", 'event: leads\ndata: {"a":1}\n'), []);
});

const { setTimeout } = globalThis;
let pauses;

beforeEach(() => {
	reset();
	session.begin("a-token", "");
	pauses = [];
	globalThis.setTimeout = (callback, pause) => {
		pauses.push(pause);
		queueMicrotask(callback);
	};
});

afterEach(() => {
	globalThis.setTimeout = setTimeout;
});

/** Listen to one response after the other, and sign out at the last. */
async function listenTo(...responses) {
	const seen = [];
	server.respond = () => {
		const response = responses.shift();
		if (!responses.length) session.end();
		return response();
	};
	await listen({
		onState: (state) => seen.push(state),
		onLeads: (data) => seen.push(["leads", data]),
		onChanges: (data) => seen.push(["changes", data]),
	});
	return seen;
}

const away = () => {
	throw new TypeError("network");
};

test("each kind of event goes to its listener", async () => {
	const unknown = "event: later\ndata: {}\n\n";
	const seen = await listenTo(() => new Response(streamOf(unknown, TEXT)));
	assert.deepEqual(seen, ["live", ["leads", EVENTS[0].data], ["changes", EVENTS[1].data], "away"]);
});

test("an interruption is followed by another try, later each time up to a limit", async () => {
	const seen = await listenTo(...Array(7).fill(away));
	assert.deepEqual(seen, Array(7).fill("away"));
	assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 15000, 15000, 15000]);
});

test("after a connection that stood, the next try comes soon again", async () => {
	await listenTo(away, away, () => new Response(streamOf("")), away);
	assert.deepEqual(pauses, [1000, 2000, 1000, 2000]);
});

test("a token that is refused ends the listening", async () => {
	for (const status of [401, 403]) {
		session.begin("a-token", "");
		server.respond = () => json({}, status);
		await listen({ onState: () => assert.fail("neither live nor away") });
	}
	assert.equal(server.requests.length, 2);
});
