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
	for await (const together of readEvents(streamOf(...chunks))) events.push(...together);
	return events;
}

const AT = "2024-01-15T10:30:00Z";
const created = (number, lead = { id: `lead ${number}` }) => ({
	id: String(number),
	name: "lead.created",
	data: { seq: number, type: "lead.created", at: AT, leadId: `lead ${number}`, lead },
});
const changed = (number, leadId) => ({ id: String(number), name: "lead.changed", data: { leadId } });
const write = ({ id, name, data }) => `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

const EVENTS = [
	{ id: "6", name: undefined, data: undefined },
	created(7, { id: "lead 7", name: "Jānis 😀" }),
	changed(8, "a"),
];
const TEXT = `: listening\nid: 6\n\n${EVENTS.slice(1).map(write).join("")}`;

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
	assert.deepEqual(await eventsOf(": still here\n\n", 'id: 1\nevent: lead.created\ndata: {"a":1}\n'), []);
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
		onMissed: () => seen.push("missed"),
	});
	return seen;
}

const away = () => {
	throw new TypeError("network");
};

const places = () => server.requests.map(({ headers }) => headers["Last-Event-ID"] ?? null);

test("each kind of event goes to its listener, a lead with the time at which it was stored", async () => {
	const unknown = "event: later\ndata: {}\n\n";
	const seen = await listenTo(() => new Response(streamOf(unknown, TEXT)));
	const leads = [{ ...EVENTS[1].data.lead, storedAt: AT }];
	assert.deepEqual(seen, ["live", ["leads", { leads, more: false }], ["changes", { ids: ["a"], more: false }], "away"]);
});

test("events that come together are announced together, the newest lead first, each changed lead once", async () => {
	const text = [created(1), changed(2, "a"), created(3), changed(4, "a"), created(5, null)].map(write).join("");
	const seen = await listenTo(() => new Response(streamOf(text)));
	assert.deepEqual(
		seen[1][1].leads.map((lead) => lead.id),
		["lead 3", "lead 1"],
	);
	assert.deepEqual(seen[2], ["changes", { ids: ["a"], more: false }]);
});

test("after too many at once the list is read again", async () => {
	const text = Array.from({ length: 101 }, (_, number) => write(created(number + 1))).join("");
	const [, [, { leads, more }]] = await listenTo(() => new Response(streamOf(text)));
	assert.deepEqual([leads.length, more], [100, true]);
});

test("after an interruption it goes on where it was, and nothing is missed", async () => {
	const first = () => new Response(streamOf(": listening\nid: 6\n\n", write(created(7)), ": still here\n\n"));
	const seen = await listenTo(first, away, () => new Response(streamOf("")));
	assert.deepEqual(places(), [null, "7", "7"]);
	assert.ok(!seen.includes("missed"));
});

test("where the server no longer knows what came meanwhile, the list is read again", async () => {
	const gone = () => new Response(streamOf(": listening\nid: 6\n\n", 'event: gone\ndata: {"oldest":9}\n\n'));
	const again = () => new Response(streamOf(": listening\nid: 9\n\n"));
	const seen = await listenTo(gone, again, () => json({ oldest: 20 }, 410), again, away);
	assert.deepEqual(places(), [null, null, "9", null, "9"]);
	assert.equal(seen.filter((what) => what === "missed").length, 2);
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

test("a connection on which nothing is heard any more is given up, and the next one goes on where it was", async () => {
	const { setInterval } = globalThis;
	const { now } = Date;
	let clock = now();
	Date.now = () => clock;
	let look;
	globalThis.setInterval = (callback) => {
		look = callback;
	};
	try {
		const sleep = () => {
			clock += 3_600_000;
			look();
		};
		const chunks = [ENCODER.encode(": listening\nid: 6\n\n")];
		const silent = () =>
			new Response(
				new ReadableStream({
					start(controller) {
						const { signal } = server.requests.at(-1);
						signal.addEventListener("abort", () => controller.error(signal.reason));
					},
					pull(controller) {
						if (chunks.length) controller.enqueue(chunks.pop());
						else sleep();
					},
				}),
			);
		const seen = await listenTo(silent, away);
		assert.deepEqual(seen, ["live", "away", "away"]);
		assert.deepEqual(places(), [null, "6"]);
	} finally {
		Date.now = now;
		globalThis.setInterval = setInterval;
	}
});

test("a token that is refused ends the listening", async () => {
	for (const status of [401, 403]) {
		session.begin("a-token", "");
		server.respond = () => json({}, status);
		await listen({ onState: () => assert.fail("neither live nor away") });
	}
	assert.equal(server.requests.length, 2);
});
