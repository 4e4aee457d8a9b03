// What was sent with a lead. Who the person is can be corrected; the raw request keeps what came.

import { session } from "./api.js";
import { changeLead } from "./changes.js";
import { button, h } from "./dom.js";
import { draftOf } from "./drafts.js";
import { takeBack } from "./edit.js";
import { LABELS } from "./place.js";
import { offerUndo } from "./undo.js";

const MAX_CHARS = 320;
const CORRECTABLE = ["firstName", "lastName", "email", "phone", "country", "lang"];
const OTHERS = ["ip", "offer", "marker", "sourcetype", "domain", "creo", "click_id", "description"];

/** The fields of a lead. `events` tell what was sent where it was corrected, `redraw` shows a field that is edited. */
export function fieldsSection(lead, events, { redraw, onChanged }) {
	const filled = OTHERS.filter((name) => lead[name]);
	const empty = OTHERS.filter((name) => !lead[name]).map((name) => LABELS[name].toLowerCase());
	const pair = (name, content) => [h("dt", {}, LABELS[name]), h("dd", {}, content)];
	const list = [
		...CORRECTABLE.map((name) => pair(name, correctable(lead, name, events, { redraw, onChanged }))),
		...filled.map((name) => pair(name, lead[name])),
	];
	return h(
		"section",
		{ "aria-label": "Fields" },
		h("h3", {}, "What was sent"),
		h("dl", { class: "fields" }, list),
		empty.length > 0 && h("p", { class: "muted" }, `Nothing for ${empty.join(", ")}.`),
	);
}

/** What was sent of a field before anybody corrected it; undefined where nobody did. */
export function sentValue(lead, name, events) {
	const first = events.find((event) => event.field === name);
	return first && (first.from ?? "") !== (lead[name] ?? "") ? (first.from ?? "") : undefined;
}

function correctable(lead, name, events, reactions) {
	const draft = draftOf(lead, name);
	const mayCorrect = session.may("work");
	if (mayCorrect && draft.text !== undefined) return editor(lead, name, reactions);
	const label = `Correct ${LABELS[name].toLowerCase()}`;
	const open = () => {
		draft.type(lead[name] ?? "");
		reactions.redraw(`correct-${name}`);
	};
	const sent = sentValue(lead, name, events);
	return [
		lead[name] || h("span", { class: "muted" }, "none"),
		mayCorrect &&
			button("✎", open, {
				class: "quiet correct",
				"aria-label": label,
				title: label,
				"data-control": `correct-${name}`,
			}),
		sent !== undefined && h("small", { class: "muted" }, ` was ${sent ? `“${sent}”` : "empty"}`),
	];
}

function editor(lead, name, { redraw, onChanged }) {
	const draft = draftOf(lead, name);
	const input = h("input", {
		value: draft.text,
		maxlength: MAX_CHARS,
		"aria-label": LABELS[name],
		"data-control": `correct-${name}`,
		oninput: () => draft.type(input.value),
		onkeydown: (event) => {
			if (event.key === "Enter") save();
			else if (event.key === "Escape") end();
			else return;
			event.stopPropagation();
			event.preventDefault();
		},
	});
	const fault = h("span", { class: "error", role: "alert" });

	function end() {
		draft.end();
		redraw(`correct-${name}`);
	}

	async function save() {
		const value = input.value.trim() || null;
		if (value === (lead[name] || null)) {
			end();
			return;
		}
		const { seen } = draft;
		input.readOnly = true;
		const done = await changeLead(seen, { [name]: value });
		input.readOnly = false;
		if (!done.isSaved) {
			fault.textContent = done.message;
			if (done.lead) draft.tell(done.lead);
			return;
		}
		draft.end();
		onChanged(done.lead);
		redraw(`correct-${name}`);
		offerUndo("Corrected", () => takeBack(done.lead, { [name]: seen[name] }, onChanged));
	}

	return h(
		"span",
		{ class: "correcting" },
		input,
		button("Save", save, { class: "primary" }),
		button("Cancel", end, { class: "quiet" }),
		fault,
	);
}
