// The details of one lead, or of one request that is not a lead.

import { formatBytes } from "./amounts.js";
import { api } from "./api.js";
import { valueText } from "./changes.js";
import { emailLinks, phoneLinks } from "./contact.js";
import { fieldsSection } from "./correct.js";
import { correction } from "./correct_request.js";
import { deliveriesSection } from "./deliveries.js";
import { button, h, notice, pill, redraw } from "./dom.js";
import { edit, editButton, nameOf } from "./edit.js";
import { longTime } from "./format.js";
import { callField, noteField } from "./notes.js";
import { LABELS } from "./place.js";
import { replayButton } from "./replay.js";

const MAX_OTHERS = 20;

const KEYS = { e: "status", a: "assignedTo" };

export class Drawer {
	/** `onStep` opens the next or the previous lead, `onClosed` gets the id of what was open. */
	constructor(element, { onClose, onClosed, onChanged, onReplayed, onStep }) {
		Object.assign(this, {
			element,
			onClose,
			onClosed,
			onChanged,
			onReplayed,
			onStep,
			id: null,
			lead: null,
			others: h("div"),
			// Questions are numbered, so that no late answer replaces a newer one.
			asked: 0,
			answered: 0,
		});
	}

	/** Show what an id leads to; the lead of the list at once, if there is one, and the rest when it has come. */
	async open(id, listed = null) {
		if (this.id !== id) {
			this.id = id;
			// Never the last lead under the id of this one: keys and buttons act on what is shown.
			this.show({ lead: listed, raw: null, events: [], duplicates: {}, way: [] }, null, { isWhole: false });
			this.element.scrollTop = 0;
		}
		this.asked += 1;
		const { asked } = this;
		try {
			const found = await api.lead(id);
			const duplicate = found.way.length ? await api.raw(found.way[0]).catch(() => null) : null;
			if (this.id !== id || asked < this.answered) return;
			this.answered = asked;
			this.show(found, duplicate);
		} catch (error) {
			if (this.id !== id) return;
			notice(error.message, "error");
			if (!this.lead) this.onClose();
		}
	}

	close() {
		const { id } = this;
		if (this.element.hidden) return;
		Object.assign(this, { id: null, lead: null });
		this.element.hidden = true;
		this.element.replaceChildren();
		this.onClosed(id);
	}

	async refresh() {
		if (this.id) await this.open(this.id);
	}

	show({ lead, raw, events, duplicates, way, deliveries }, duplicate, { isWhole = true } = {}) {
		if (this.lead?.id !== lead?.id) this.others = h("div");
		this.lead = lead;
		const title = lead ? nameOf(lead) : untitled(isWhole, raw);
		const heading = h("h2", { tabindex: "-1" }, title);
		const id = h("span", { class: "muted mono" }, lead?.id ?? raw?.id ?? this.id);
		const content = h(
			"div",
			{ class: "details", "aria-busy": String(!isWhole) },
			h("header", {}, h("div", {}, heading, id), this.buttons()),
			lead?.isTest && h("p", { class: "note" }, "The sender says that this is a test."),
			way.length > 0 && h("p", { class: "note" }, `You came by ${way[0]}, which is a duplicate: this is the first.`),
			lead && [this.work(lead), contactSection(lead), this.calls(lead)],
			lead && [this.fields(lead, events), this.others],
			lead && isWhole && historySection(lead, events, duplicates),
			isWhole && deliveriesSection(deliveries),
			!isWhole && h("p", { class: "muted" }, "Loading the history and the request…"),
			!lead && raw && this.reason(raw),
			duplicate && requestSection(duplicate, `The ${duplicate.state} you came by`),
			raw && requestSection(raw, "Raw request"),
		);
		if (isWhole && lead) this.findOthers(lead);
		const wasHidden = this.element.hidden;
		const { dataset, selectionStart, selectionEnd } = document.activeElement;
		const focused = this.element.contains(document.activeElement) && dataset.control;
		redraw(this.element, content);
		this.element.hidden = false;
		if (wasHidden) heading.focus({ preventScroll: true });
		else if (focused) this.control(focused)?.focus({ preventScroll: true });
		// Else what is typed next would stand before the text that it was to replace.
		if (focused && typeof selectionStart === "number") {
			this.control(focused)?.setSelectionRange?.(selectionStart, selectionEnd);
		}
	}

	buttons() {
		const step = (text, label, by) =>
			button(text, () => this.onStep(by), { class: "quiet", "aria-label": label, title: label });
		const close = button("✕", () => this.onClose(), { class: "quiet", "aria-label": "Close" });
		return [step("‹", "Previous", -1), step("›", "Next", 1), close];
	}

	control(name) {
		return this.element.querySelector(`[data-control="${name}"]`);
	}

	work(lead) {
		const field = (name, label) => {
			const properties = { label: `Change ${label}: ${lead[name] || "nobody"}`, ...this.reactions(name) };
			return h("div", {}, h("span", { class: "muted" }, label), editButton(lead, name, properties));
		};
		return h("div", { class: "work" }, field("status", "Status"), field("assignedTo", "Assigned to"));
	}

	calls(lead) {
		const { onChanged } = this.reactions("call");
		return h(
			"div",
			{},
			callField(lead, onChanged),
			noteField(lead, () => this.refresh()),
		);
	}

	fields(lead, events) {
		const redraw = (focused) => {
			this.element.querySelector('[aria-label="Fields"]')?.replaceWith(this.fields(this.lead, events));
			const control = this.control(focused);
			control?.focus({ preventScroll: true });
			control?.select?.();
		};
		return fieldsSection(lead, events, { redraw, onChanged: this.reactions("phone").onChanged });
	}

	/** Show the other leads of the same person, by phone and email. */
	async findOthers(lead) {
		const asked = ["phone", "email"].filter((name) => lead[name]?.trim());
		const ask = (name) =>
			api
				.leads([
					[name, lead[name]],
					["limit", MAX_OTHERS],
				])
				.catch(() => ({ leads: [] }));
		const pages = await Promise.all(asked.map(ask));
		const others = new Map(pages.flatMap((page) => page.leads).map((other) => [other.id, other]));
		others.delete(lead.id);
		if (this.lead?.id === lead.id) this.others.replaceChildren(...(others.size ? [othersSection(others)] : []));
	}

	reactions(name) {
		return {
			onChanged: (lead) => {
				this.onChanged(lead);
				if (lead.id === this.lead?.id) this.refresh();
			},
			onClosed: (hadFocus) => hadFocus && this.control(name)?.focus({ preventScroll: true }),
		};
	}

	/** Edit the lead that is shown, and return whether the key does that. */
	key(key) {
		if (key === "c") {
			this.control("note")?.focus();
			return true;
		}
		const name = KEYS[key];
		if (!name) return false;
		const { lead } = this;
		if (lead) edit({ lead, name, anchor: this.control(name), ...this.reactions(name) });
		return true;
	}

	reason(raw) {
		const onReplayed = (done) => {
			this.onReplayed(done);
			this.refresh();
		};
		return h(
			"div",
			{},
			h("p", { class: "note" }, h("strong", {}, raw.state), raw.error && `: ${raw.error}`),
			!raw.erased && h("div", { class: "mend" }, replayButton(raw, onReplayed), correction(raw, onReplayed)),
		);
	}
}

function untitled(isWhole, raw) {
	if (!isWhole) return "Loading…";
	return raw?.erased ? "Erased" : "Not a lead";
}

const section = (title, ...content) => h("section", { "aria-label": title }, h("h3", {}, title), content);

const definitions = (pairs) =>
	h(
		"dl",
		{ class: "fields" },
		pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
	);

function contactSection(lead) {
	const parts = [phoneLinks(lead.phone), emailLinks(lead.email)].filter(Boolean);
	return parts.length ? h("div", { class: "reach" }, parts) : null;
}

function othersSection(others) {
	const link = (lead) =>
		h(
			"li",
			{},
			h("a", { href: `?open=${lead.id}`, "data-go": true }, nameOf(lead)),
			` ${longTime(lead.createdAt)}, ${lead.status}, ${lead.assignedTo ?? "nobody"}`,
		);
	return section("Other leads of this person", h("ul", { class: "others" }, [...others.values()].map(link)));
}

const HISTORY_LABELS = { ...LABELS, callAt: "Next call" };
const CORRECTIONS = { body: "The body was corrected to", fields: "What the request means was typed" };

function eventText({ field, from, to }) {
	if (field === "note") return h("p", { class: "note-text" }, to);
	if (CORRECTIONS[field]) return [CORRECTIONS[field], h("pre", { class: "body", tabindex: "0" }, to)];
	return `${HISTORY_LABELS[field] ?? field}: ${valueText(field, from)} → ${valueText(field, to)}`;
}

function historySection(lead, events, duplicates) {
	const entry = (at, by, text) => h("li", {}, h("time", { datetime: at }, `${longTime(at)}${by}`), text);
	const author = ({ by, claimed }) => (claimed ? `, ${by} (as “${claimed}”)` : `, ${by}`);
	const changes = events.map((event) => entry(event.at, author(event), eventText(event)));
	const count = (number, noun) => (number ? [`${number} ${noun}${number === 1 ? "" : "s"}`] : []);
	const again = [...count(duplicates.repeats, "repeat"), ...count(duplicates.conflicts, "conflict")];
	const arrival = again.length ? `Arrived; its key came again: ${again.join(", ")}` : "Arrived";
	return section("History", h("ol", { class: "history" }, changes.reverse(), entry(lead.createdAt, "", arrival)));
}

function requestSection(raw, title) {
	const facts = [
		["State", pill(raw.state, raw.state)],
		["Source", raw.source],
		["Received", longTime(raw.receivedAt)],
		["From", raw.remoteAddr],
		["Request", `${raw.method} ${raw.target}`],
		["Content type", raw.contentType ?? "none"],
		["Key", raw.idempotencyKey ?? "none"],
		["Request id", raw.requestId],
		["Node", raw.node],
		["SHA-256", h("span", { class: "mono" }, raw.bodySha256)],
	];
	const headers = h("details", {}, h("summary", {}, "Headers"), definitions(Object.entries(raw.headers)));
	return section(title, definitions(facts), headers, body(raw));
}

function body({ body: content, bodyEncoding: encoding, erased }) {
	if (erased) return h("p", { class: "muted" }, "The body was erased.");
	if (content === null) return h("p", { class: "muted" }, "The body is the first request's, byte for byte.");
	const isText = encoding === "text";
	const size = isText ? new Blob([content]).size : Math.floor((content.length * 3) / 4);
	return h(
		"div",
		{},
		h("p", { class: "muted" }, `Body, ${formatBytes(size)}${isText ? "" : ", no text, as base64"}`),
		h("pre", { class: "body", tabindex: "0", "aria-label": "Body" }, content),
	);
}
