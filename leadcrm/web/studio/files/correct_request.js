// Correcting a request that is no lead: a person says what its sender meant, and the lead is made of that.

import { api, session } from "./api.js";
import { button, h, notice } from "./dom.js";
import { drafts } from "./drafts.js";
import { LABELS } from "./place.js";
import { replayMessage } from "./replay.js";

const CORRECTABLE = ["failed", "invalid", "conflict", "event"];
const TYPED = ["firstName", "lastName", "email", "phone", "country", "offer", "description"];
const MAX_CHARS = 65536;

/** A button and the form that it opens; nothing where a correction cannot help. `onReplayed` is called with the result. */
export function correction(raw, onReplayed) {
	if (!CORRECTABLE.includes(raw.state) || raw.body === null || !session.may("replay")) return [];
	const isText = raw.bodyEncoding === "text" && raw.body.trim() !== "";
	const name = `${raw.id}/correction`;
	const draft = drafts.get(name);
	const form = h("form", {
		class: "correction",
		hidden: !draft,
		"aria-label": "Correction",
		onsubmit: send,
		oninput: remember,
	});
	const opener = button("Correct…", open, { "aria-expanded": String(!form.hidden), "data-control": "correct" });
	const text = h("textarea", {
		"aria-label": "What it should have been",
		"data-control": "correct-body",
		rows: 8,
		maxlength: MAX_CHARS,
		class: "mono",
	});
	const fields = TYPED.map((field) =>
		h(
			"label",
			{},
			h("span", { class: "muted" }, LABELS[field]),
			h("input", { name: field, "data-control": `correct-${field}`, value: draft?.fields[field] ?? "" }),
		),
	);
	const fault = h("p", { class: "error", role: "alert", hidden: true });
	const submit = h("button", { class: "primary" }, "Make the lead");
	const other = button("", change, { class: "quiet" });
	const parts = h("div");
	let kind = "body";
	text.value = draft?.body ?? (isText ? raw.body : "");
	const how = "The request keeps what came; the history tells who corrected it.";
	form.append(h("p", { class: "muted" }, how), parts, fault, h("div", { class: "answers" }, other, submit));
	show(draft?.kind ?? (isText ? "body" : "fields"));
	return [opener, form];

	/** Keep what is typed, whatever is drawn meanwhile. */
	function remember() {
		const typed = fields.map((label) => label.querySelector("input"));
		const values = Object.fromEntries(typed.map(({ name: field, value }) => [field, value]));
		drafts.set(name, { kind, body: text.value, fields: values });
	}

	function open() {
		form.hidden = !form.hidden;
		opener.setAttribute("aria-expanded", String(!form.hidden));
		if (!form.hidden) parts.querySelector("textarea, input").focus();
	}

	function change() {
		show(kind === "body" ? "fields" : "body");
		parts.querySelector("textarea, input").focus();
	}

	function show(next) {
		kind = next;
		parts.className = kind;
		parts.replaceChildren(...(kind === "body" ? [text] : fields));
		other.textContent = kind === "body" ? "Type the fields instead" : "Correct the body instead";
	}

	function asked() {
		if (kind === "body") return { body: text.value };
		const typed = [...parts.querySelectorAll("input")].filter(({ value }) => value.trim());
		return { fields: Object.fromEntries(typed.map(({ name: field, value }) => [field, value.trim()])) };
	}

	function tell(message) {
		fault.textContent = message;
		fault.hidden = false;
	}

	async function send(event) {
		event.preventDefault();
		fault.hidden = true;
		submit.disabled = true;
		try {
			const done = await api.correct(raw.id, asked());
			if (!done.leadId) tell(replayMessage(done));
			else {
				drafts.delete(name);
				notice(replayMessage(done));
				onReplayed(done);
			}
		} catch (error) {
			tell(error.message);
		}
		submit.disabled = false;
	}
}
