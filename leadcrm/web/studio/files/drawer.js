// The details of one lead, or of one request that is not a lead.

import { api } from "./api.js";
import { button, h, notice, pill } from "./dom.js";
import { changedValue, saveChange, suggest } from "./edit.js";
import { formatBytes, fullName, longTime } from "./format.js";
import { LABELS } from "./place.js";
import { replayButton } from "./replay.js";

const FIELDS = [
	"firstName",
	"lastName",
	"email",
	"phone",
	"country",
	"lang",
	"ip",
	"offer",
	"marker",
	"sourcetype",
	"domain",
	"creo",
	"click_id",
	"description",
];

export class Drawer {
	constructor(element, { onClose, onChanged, onReplayed }) {
		Object.assign(this, { element, onClose, onChanged, onReplayed });
	}

	async open(id) {
		if (this.id !== id) this.cameFrom = document.activeElement;
		this.id = id;
		try {
			const found = await api.lead(id);
			const duplicate = found.way.length ? await api.raw(found.way[0]).catch(() => null) : null;
			if (this.id === id) this.show(found, duplicate);
		} catch (error) {
			notice(error.message, "error");
			this.onClose();
		}
	}

	close() {
		if (this.element.hidden) return;
		this.id = null;
		this.element.hidden = true;
		this.element.replaceChildren();
		if (this.cameFrom?.isConnected) this.cameFrom.focus({ preventScroll: true });
	}

	async refresh() {
		if (this.id) await this.open(this.id);
	}

	show({ lead, raw, events, duplicates, way }, duplicate) {
		const title = lead ? fullName(lead) || lead.email || lead.phone || "A lead without a name" : "Not a lead";
		const heading = h("h2", { tabindex: "-1" }, title);
		const close = button("✕", () => this.onClose(), { class: "quiet", "aria-label": "Close" });
		const id = h("span", { class: "muted mono" }, lead?.id ?? raw?.id);
		const content = h(
			"div",
			{ class: "details" },
			h("header", {}, h("div", {}, heading, id), close),
			way.length > 0 && h("p", { class: "note" }, `You came by ${way[0]}, which is a duplicate: this is the first.`),
			lead && [this.work(lead), fieldsSection(lead), historySection(lead, events, duplicates)],
			!lead && raw && this.reason(raw),
			duplicate && requestSection(duplicate, `The ${duplicate.state} you came by`),
			raw && requestSection(raw, "Raw request"),
		);
		const wasHidden = this.element.hidden;
		this.element.replaceChildren(content);
		this.element.hidden = false;
		if (wasHidden) heading.focus({ preventScroll: true });
	}

	work(lead) {
		return h(
			"div",
			{ class: "work" },
			h("label", {}, "Status", this.field(lead, "status")),
			h("label", {}, "Assigned to", this.field(lead, "assignedTo")),
		);
	}

	field(lead, name) {
		const input = h("input", {
			value: lead[name] ?? "",
			list: suggest(name),
			maxlength: 200,
			placeholder: name === "assignedTo" ? "nobody" : null,
			"data-field": name,
			onkeydown: (event) => {
				if (event.key === "Enter") input.blur();
				if (event.key === "Escape") {
					event.stopPropagation();
					input.value = lead[name] ?? "";
					input.blur();
				}
			},
			onblur: () => this.save(lead, name, input.value),
		});
		return input;
	}

	async save(lead, name, text) {
		const value = changedValue(lead, name, text);
		if (value === undefined) return;
		const changed = await saveChange(lead, { [name]: value });
		if (changed) this.onChanged(changed);
		this.refresh();
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
			replayButton(raw, onReplayed, { class: "primary" }),
		);
	}
}

const section = (title, ...content) => h("section", { "aria-label": title }, h("h3", {}, title), content);

const definitions = (pairs) =>
	h(
		"dl",
		{ class: "fields" },
		pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
	);

function fieldsSection(lead) {
	const filled = FIELDS.filter((name) => lead[name]);
	const empty = FIELDS.filter((name) => !lead[name]).map((name) => LABELS[name].toLowerCase());
	return h(
		"section",
		{ "aria-label": "Fields" },
		h("h3", {}, "What was sent"),
		definitions(filled.map((name) => [LABELS[name], lead[name]])),
		empty.length > 0 && h("p", { class: "muted" }, `Nothing for ${empty.join(", ")}.`),
	);
}

function historySection(lead, events, duplicates) {
	const entry = (at, by, text) => h("li", {}, h("time", { datetime: at }, `${longTime(at)}${by}`), text);
	const labels = { status: "Status", assignedTo: "Assigned to" };
	const changes = events.map(({ at, by, field, from, to }) =>
		entry(at, `, ${by}`, `${labels[field] ?? field}: ${from ?? "nobody"} → ${to ?? "nobody"}`),
	);
	const count = (number, noun) => (number ? [`${number} ${noun}${number === 1 ? "" : "s"}`] : []);
	const again = [...count(duplicates.repeats, "repeat"), ...count(duplicates.conflicts, "conflict")];
	const arrival = again.length ? `Arrived; its key came again: ${again.join(", ")}` : "Arrived";
	return section("History", h("ol", { class: "history" }, changes.reverse(), entry(lead.createdAt, "", arrival)));
}

function requestSection(raw, title) {
	const facts = [
		["State", pill(raw.state, raw.state)],
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

function body({ body: content, bodyEncoding: encoding }) {
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
