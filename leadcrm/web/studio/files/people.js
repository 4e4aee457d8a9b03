// The view of people: who has a token, giving and taking back tokens, and the audit trail.

import { api } from "./api.js";
import { ask } from "./ask.js";
import { button, h, notice, pill, redraw, time } from "./dom.js";
import { place } from "./place.js";
import { PlainTable } from "./plain_table.js";
import { Trail } from "./trail.js";

const ROLES = {
	agent: "works leads one by one",
	lead: "leads a team: many at once, export, tokens",
	reader: "only reads",
	integrator: "a program that reads leads and exports",
};

const LIVES = [
	["", "for ever"],
	["30", "30 days"],
	["90", "90 days"],
	["365", "a year"],
];

const COLOURS = { active: "green", expired: "amber", revoked: "grey" };

export class PeopleView {
	constructor(openLead) {
		this.trail = new Trail(openLead);
		this.tabs = h("div", { class: "tabs", role: "group", "aria-label": "People" });
		this.content = h("div", { class: "people" });
		this.form = this.makeForm();
		this.table = new PlainTable("Tokens", ["Name", "Role", "State", "Last used", "Ends", "Given", ""]);
		this.tokens = [
			h("section", { class: "card", "aria-label": "Give a token" }, this.form),
			h("section", { class: "card scroll", "aria-label": "Tokens" }, this.table.element),
		];
		this.parts = [
			h("h1", { class: "visually-hidden" }, "People"),
			h("div", { class: "toolbar" }, this.tabs),
			this.content,
		];
	}

	get part() {
		return place.parameters.get("part") === "trail" ? "trail" : "tokens";
	}

	show(container) {
		container.replaceChildren(...this.parts);
		const tab = (part, label) =>
			button(label, () => place.visit(`?view=people${part === "trail" ? "&part=trail" : ""}`), {
				"aria-pressed": String(part === this.part),
			});
		redraw(this.tabs, tab("tokens", "Tokens"), tab("trail", "Audit trail"));
		if (this.part === "trail") this.trail.show(this.content);
		else {
			this.content.replaceChildren(...this.tokens);
			this.reload();
		}
	}

	makeForm() {
		const option = ([value, label]) => h("option", { value }, label);
		const name = h("input", { name: "name", required: true, maxlength: 100, autocomplete: "off" });
		const roles = Object.entries(ROLES).map(([role, does]) => [role, `${role}: ${does}`]);
		const role = h("select", { name: "role" }, roles.map(option));
		const days = h("select", { name: "days" }, LIVES.map(option));
		const give = async (event) => {
			event.preventDefault();
			const token = { name: name.value.trim(), role: role.value, days: days.value ? Number(days.value) : null };
			if (await this.give(token)) name.value = "";
		};
		return h(
			"form",
			{ onsubmit: give },
			h("label", {}, "Name", name),
			h("label", {}, "Role", role),
			h("label", {}, "Good for", days),
			h("button", { class: "primary", type: "submit" }, "Give a token"),
		);
	}

	async reload() {
		try {
			const { tokens } = await api.tokens();
			this.table.show(
				tokens.map((token) => this.row(token)),
				"Nobody has a token yet.",
			);
		} catch (error) {
			notice(error.message, "error");
		}
	}

	row(token) {
		const { name, role, state, usedAt, expiresAt, createdAt, createdBy } = token;
		const revoke = state === "active" && button("Revoke", () => this.revoke(token), { "aria-label": `Revoke ${name}` });
		const cells = [
			h("strong", {}, name),
			role,
			pill(state, COLOURS[state]),
			usedAt ? time(usedAt) : "never",
			expiresAt ? time(expiresAt) : "never",
			h("span", {}, time(createdAt), ` by ${createdBy}`),
			revoke,
		];
		return { cells, state };
	}

	async give(token) {
		try {
			showOnce(await api.addToken(token));
			this.reload();
			return true;
		} catch (error) {
			notice(error.message, "error");
			return false;
		}
	}

	async revoke({ id, name }) {
		const detail =
			"The token opens nothing any more within seconds, and every browser that is signed in with it is signed out.";
		if (!(await ask(`Take the token of ${name} back?`, detail, "Revoke"))) return;
		try {
			await api.revokeToken(id);
			notice(`The token of ${name} is revoked`);
		} catch (error) {
			notice(error.message, "error");
		}
		this.reload();
	}

	step() {}

	key() {
		return false;
	}
}

/** Show a new token, which nobody can see again. */
function showOnce({ name, token }) {
	const copy = async () => {
		await navigator.clipboard.writeText(token);
		notice("Copied");
	};
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "new-token" },
		h("h2", { id: "new-token" }, `The token of ${name}`),
		h("p", { class: "detail" }, "It is shown this once. Pass it on by a safe way; the server keeps only its hash."),
		h("p", { class: "secret mono" }, token),
		h(
			"form",
			{ method: "dialog", class: "answers" },
			navigator.clipboard && button("Copy", copy),
			h("button", { class: "primary" }, "Done"),
		),
	);
	dialog.addEventListener("close", () => dialog.remove());
	document.body.append(dialog);
	dialog.showModal();
}
