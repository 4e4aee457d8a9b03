// Many leads at once: finding all that match, changing them, and taking that back.

import { api } from "./api.js";
import { ask } from "./ask.js";
import { notice } from "./dom.js";
import { formatNumber } from "./format.js";
import { offerUndo } from "./undo.js";

// As many as one request may change.
const MAX_IDS = 1000;
const MAX_UNASKED = 20;
const PAGE_ROWS = 500;
const MAX_GATHERED = 100000;

/** Return every lead that matches a filter, by id, with what a change of it replaces; null once that is wanted no more. */
export async function gather(filter, isWanted, onProgress) {
	const gathered = new Map();
	for (let next = null; ; ) {
		const cursor = next ? [["cursor", next]] : [];
		const page = await api.leads([...filter, ["limit", PAGE_ROWS], ...cursor]);
		if (!isWanted()) return null;
		for (const { id, status, assignedTo } of page.leads) gathered.set(id, { id, status, assignedTo });
		onProgress(gathered.size);
		next = page.next;
		if (!next || gathered.size >= MAX_GATHERED) return gathered;
	}
}

/** Change leads, and return null once that is done, or why it is not. `onApplied` is called after each change. */
export async function applyTo(before, changes, { onProgress, onApplied }) {
	if (before.length > MAX_UNASKED && !(await askFirst(before, changes))) return null;
	const ids = before.map((lead) => lead.id);
	let asked = 0;
	const count = (done) => {
		asked = done;
		onProgress(done);
	};
	const undo = () => takeBack(before.slice(0, asked), changes).finally(onApplied);
	try {
		const { changed } = await changeMany(ids, changes, { onProgress: count });
		if (changed) offerUndo(`${formatNumber(changed)} changed`, undo);
		else notice("0 changed: they were so already");
	} catch (error) {
		if (!asked) return error.message;
		offerUndo(`Only the first ${formatNumber(asked)} of ${formatNumber(ids.length)}: ${error.message}`, undo);
	}
	onApplied();
	return null;
}

const LABELS = { status: "Status", assignedTo: "Assigned to" };

function askFirst(leads, changes) {
	const [[name, value]] = Object.entries(changes);
	const counts = new Map();
	for (const lead of leads) counts.set(lead[name], (counts.get(lead[name]) ?? 0) + 1);
	const now = [...counts].sort((one, other) => other[1] - one[1]);
	const lines = now.map(([old, count]) => `${formatNumber(count)} × ${old ?? "nobody"}`);
	return ask(
		`Change ${formatNumber(leads.length)} leads?`,
		`${LABELS[name]} becomes “${value ?? "nobody"}”. Now it is: ${lines.join(", ")}.`,
		`Change ${formatNumber(leads.length)}`,
	);
}

async function takeBack(before, changes) {
	let changed = 0;
	for (const { ids, changes: old } of groupForUndo(before, changes)) {
		// What somebody else has changed since then stays as it is.
		changed += (await changeMany(ids, old, { expected: changes })).changed;
	}
	return `${formatNumber(changed)} taken back`;
}

/** The calls that take a change of many leads back: the leads by the values that they had. */
export function groupForUndo(before, changes) {
	const groups = new Map();
	for (const lead of before) {
		const old = Object.fromEntries(Object.keys(changes).map((name) => [name, lead[name]]));
		if (Object.keys(changes).every((name) => old[name] === changes[name])) continue;
		const key = JSON.stringify(old);
		if (!groups.has(key)) groups.set(key, { changes: old, ids: [] });
		groups.get(key).ids.push(lead.id);
	}
	return [...groups.values()];
}

/** Change many leads, as many at a time as the server takes. `onProgress` gets the number of leads asked for so far. */
export async function changeMany(ids, changes, { expected, onProgress = () => {} } = {}) {
	const total = { changed: 0, unchanged: 0, stale: 0 };
	for (let start = 0; start < ids.length; start += MAX_IDS) {
		const some = ids.slice(start, start + MAX_IDS);
		const done = await api.changeMany(some, changes, expected);
		for (const name of Object.keys(total)) total[name] += done[name] ?? 0;
		onProgress(start + some.length);
	}
	return total;
}
