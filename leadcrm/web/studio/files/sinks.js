// The view of the sinks: how far each is, what did not arrive there, and trying again or dropping that.

import { api } from "./api.js";
import { ask } from "./ask.js";
import { button, h, notice, pill, redraw, time } from "./dom.js";
import { emptyNote } from "./empty_note.js";
import { formatNumber } from "./format.js";
import { place } from "./place.js";

const KINDS = { delivering: "green", failing: "amber", disabled: "red", off: "amber", unknown: null };
const MAX_COUNTED = 10000;
const MAX_DELIVERIES = 100;
const STATES = [null, "waiting", "dead"];

export const unreadText = (unread) => `${formatNumber(unread)}${unread >= MAX_COUNTED ? " or more" : ""}`;

/** How many are still to come to a sink, and since when the oldest waits. */
export function backlogText({ unread, waiting, dead }) {
	const parts = [
		unread && `${unreadText(unread)} to read`,
		waiting && `${formatNumber(waiting)} waiting`,
		dead && `${formatNumber(dead)} dead`,
	].filter(Boolean);
	return parts.length ? parts.join(", ") : "nothing";
}

/** Change deliveries until all that are meant are done, and return how many those were. */
export async function changeAll(change, chosen) {
	let total = 0;
	let after = null;
	do {
		const { changed, next } = await change({ ...chosen, ...(after && { after }) });
		total += changed;
		after = next;
	} while (after);
	return total;
}

export class SinksView {
	constructor() {
		this.list = h("div", { class: "cards" });
		this.tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
		this.deliveries = h("div");
		const look = { class: "quiet", "aria-label": "Look again", title: "Look again" };
		this.content = h(
			"div",
			{ class: "places" },
			h(
				"header",
				{},
				h("h1", {}, "Sinks"),
				button("↻", () => this.reload(), look),
			),
			this.list,
			h(
				"section",
				{ "aria-labelledby": "deliveries" },
				h("h2", { id: "deliveries" }, "What did not arrive"),
				this.tabs,
				this.deliveries,
			),
		);
	}

	get chosen() {
		const [sink, state] = ["sink", "state"].map((name) => place.parameters.get(name));
		return { ...(sink && { sink }), ...(state && { state }) };
	}

	show(container) {
		container.replaceChildren(this.content);
		const shown = JSON.stringify(this.chosen);
		// What is open in the drawer changes nothing here.
		if (shown === this.shown && place.open) return;
		this.shown = shown;
		this.reload();
	}

	async reload() {
		const shown = this.shown;
		try {
			const [{ sinks, fault }, { deliveries }] = await Promise.all([
				api.sinks(),
				api.deliveries({ ...this.chosen, limit: MAX_DELIVERIES }),
			]);
			if (shown === this.shown) this.draw(sinks, fault, deliveries);
		} catch (error) {
			notice(error.message, "error");
		}
	}

	draw(sinks, fault, deliveries) {
		const notes = fault ? [h("p", { class: "note" }, fault)] : [];
		this.list.replaceChildren(...notes, ...(sinks.length ? sinks.map((sink) => this.card(sink)) : [noSink()]));
		const { sink, state } = this.chosen;
		const tab = (name) =>
			button(name ?? "all", () => place.go({ state: name }), { "aria-pressed": String((state ?? null) === name) });
		const only =
			sink &&
			button(`Only ${sink}`, () => place.go({ sink: null }), {
				class: "chip",
				"aria-label": `Remove the filter ${sink}`,
			});
		redraw(this.tabs, ...STATES.map(tab), ...(only ? [only] : []));
		this.deliveries.replaceChildren(deliveries.length ? this.table(deliveries) : nothingWaits());
	}

	card(sink) {
		const pairs = [
			["To come", backlogText(sink)],
			sink.oldest && ["Oldest", time(sink.oldest)],
			["Delivered", sink.delivered === null ? "unknown" : formatNumber(sink.delivered)],
			[
				"Last answer",
				sink.lastAnswer ? [sink.lastAnswer, " ", h("span", { class: "muted" }, time(sink.lastAt))] : "none yet",
			],
			sink.failingSince && ["Failing since", time(sink.failingSince)],
		].filter(Boolean);
		const toCome = sink.waiting || sink.dead;
		return h(
			"section",
			{ class: "card", "aria-label": sink.sink },
			h("h2", {}, sink.sink, " ", pill(sink.state, KINDS[sink.state])),
			h("p", { class: "muted" }, [sink.kind, sink.host].filter(Boolean).join(" to ")),
			sink.disabled &&
				h(
					"p",
					{ class: "note" },
					`Disabled: ${sink.disabled}. leadcrm sinks test ${sink.sink} enables it once its receiver takes a test.`,
				),
			h(
				"dl",
				{ class: "fields" },
				pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
			),
			toCome ? this.actions(sink) : null,
		);
	}

	actions({ sink, dead }) {
		const since = h("input", { type: "date", "aria-label": `Retry ${sink} since` });
		const retrySince = () => (since.value ? this.retry({ sink, since: since.value }) : since.focus());
		return h(
			"div",
			{ class: "actions" },
			button("Show", () => place.go({ sink, state: null })),
			dead > 0 && button("Retry all dead", () => this.retry({ sink, state: "dead" })),
			dead > 0 &&
				button("Drop all dead", () =>
					this.drop({ sink, state: "dead" }, `${formatNumber(dead)} dead deliveries to ${sink}`),
				),
			h("span", { class: "since" }, since, button("Retry since", retrySince)),
		);
	}

	table(deliveries) {
		const columns = ["Event", "Sink", "State", "Tried", "Next try", "Answer", ""];
		const head = columns.map((text) =>
			h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "What to do")),
		);
		return h(
			"div",
			{ class: "card table" },
			h(
				"table",
				{ class: "deliveries" },
				h("thead", {}, h("tr", {}, head)),
				h(
					"tbody",
					{},
					deliveries.map((one) => this.row(one)),
				),
			),
		);
	}

	row(one) {
		const parameters = new URLSearchParams(place.parameters);
		parameters.set("open", one.leadId);
		const lead = h("a", { href: `?${parameters}`, "data-go": true }, one.type);
		const answer = [one.status, one.answer].filter(Boolean).join(" ");
		return h(
			"tr",
			{},
			h("th", { scope: "row" }, lead, h("div", { class: "muted" }, time(one.at))),
			h("td", {}, one.sink),
			h("td", {}, pill(one.state, one.state === "dead" ? "red" : "amber")),
			h("td", { "data-label": "Tried" }, `${one.attempts} times, last `, time(one.lastAt)),
			h("td", { "data-label": "Next try" }, one.nextAt ? time(one.nextAt) : "never"),
			h("td", { class: "answer", "data-label": "Answer" }, answer || h("span", { class: "muted" }, "none")),
			h(
				"td",
				{ class: "todo" },
				button("Retry", () => this.retry({ ids: [one.id] }), { "aria-label": `Retry ${one.type} to ${one.sink}` }),
				button("Drop", () => this.drop({ ids: [one.id] }, "this delivery"), {
					class: "quiet",
					"aria-label": `Drop ${one.type} to ${one.sink}`,
				}),
			),
		);
	}

	async retry(chosen) {
		await this.change(api.retryDeliveries, chosen, "tried again at once");
	}

	async drop(chosen, what) {
		if (!(await ask(`Drop ${what}?`, "What is dropped never arrives at the sink.", "Drop"))) return;
		await this.change(api.dropDeliveries, chosen, "dropped");
	}

	async change(change, chosen, done) {
		try {
			notice(`${formatNumber(await changeAll(change, chosen))} ${done}`);
		} catch (error) {
			notice(error.message, "error");
		}
		await this.reload();
	}
}

const noSink = () =>
	emptyNote(
		"No sink yet",
		"A sink is where leads go on: a webhook, a chat, mail or another CRM, described in the file that SINKS_FILE names.",
	);

const nothingWaits = () => h("p", { class: "muted" }, "Every event has arrived, or is still to be read.");
