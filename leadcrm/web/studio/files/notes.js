// A lead's notes and next call, in the drawer. What is typed stays until it is saved, whatever happens meanwhile.

import { api, session } from "./api.js";
import { changeLead } from "./changes.js";
import { button, h, notice } from "./dom.js";
import { draftOf, drafts } from "./drafts.js";
import { dayOf, fromLocalText, localText, longTime, zone } from "./format.js";

const HOUR_MS = 3600000;
const DAY_MS = 24 * HOUR_MS;
const MAX_CHARS = 10000;

/** The field for a note. `onSaved` is called once it is kept. */
export function noteField(lead, onSaved) {
	if (!session.may("work")) return null;
	const text = h("textarea", {
		"aria-label": "New note",
		"data-control": "note",
		placeholder: "Note",
		rows: 2,
		maxlength: MAX_CHARS,
		value: drafts.get(lead.id) ?? "",
		oninput: () => drafts.set(lead.id, text.value),
		onkeydown: (event) => {
			if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
		},
	});
	const add = button("Add note", () => save(), { title: "Ctrl+Enter" });

	async function save() {
		const note = text.value;
		if (!note.trim() || add.disabled) return;
		add.disabled = true;
		try {
			await api.addNote(lead.id, note);
			if (drafts.get(lead.id) === note) drafts.delete(lead.id);
			notice("Noted");
			onSaved();
		} catch (error) {
			notice(`The note is not saved. ${error.message}`, "error");
		}
		add.disabled = false;
	}

	return h("div", { class: "note-field" }, text, add);
}

const isOwnZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone === zone.name;

/** Tomorrow morning in the zone of all times. */
export function tomorrowMorning(now) {
	// From noon, since a day may have 23 hours.
	const noon = fromLocalText(`${dayOf(now)}T12:00`);
	return fromLocalText(`${dayOf(noon.getTime() + DAY_MS)}T09:00`);
}

/** The field for the next call. `onChanged` gets the lead as it is then. */
export function callField(lead, onChanged) {
	if (!session.may("work")) return lead.callAt && h("p", { class: "muted" }, `Next call: ${longTime(lead.callAt)}`);
	const draft = draftOf(lead, "callAt");
	const input = h("input", {
		type: "datetime-local",
		"aria-label": "Next call",
		"data-control": "call",
		value: draft.text ?? localText(lead.callAt),
		oninput: () => draft.type(input.value),
	});

	async function save(at, seen = lead) {
		const done = await changeLead(seen, { callAt: at?.toISOString() ?? null });
		notice(done.message, done.isSaved ? "info" : "error");
		if (done.isSaved) draft.end();
		else if (done.lead && draft.text !== undefined) draft.tell(done.lead);
		if (done.lead) onChanged(done.lead);
	}

	const set = () => input.value && save(fromLocalText(input.value), draft.seen);
	return h(
		"div",
		{ class: "call-field" },
		h("label", {}, h("span", { class: "muted" }, isOwnZone() ? "Next call" : `Next call, time in ${zone.name}`), input),
		button("Set", set, { class: "primary" }),
		button("In 1 hour", () => save(new Date(Date.now() + HOUR_MS))),
		button("Tomorrow 9:00", () => save(tomorrowMorning(new Date()))),
		lead.callAt && button("No call", () => save(null), { class: "quiet" }),
	);
}
