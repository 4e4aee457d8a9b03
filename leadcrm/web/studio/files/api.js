// Requests to the server. A token lives in this tab's session storage and in one header, never in an address. A browser
// that stays signed in has a cookie instead, which no script can read.

import { zone } from "./format.js";

const TOKEN = "leadcrm.token";
const ACTOR = "leadcrm.actor";
const KEPT = "leadcrm.kept";
const WHO = "leadcrm.who";
/** Where drafts.js keeps what is typed. */
export const DRAFTS = "leadcrm.drafts";

export class ApiError extends Error {
	constructor(status, document) {
		super(document?.message || document?.error || `the server answered ${status}`);
		this.status = status;
		this.document = document;
	}
}

let onUnauthorized = () => {};

/** The name that was typed in this tab, else in this browser: tabs may be signed in as different people. */
const typedName = () => sessionStorage.getItem(ACTOR) ?? localStorage.getItem(ACTOR) ?? "";

export const session = {
	get token() {
		return sessionStorage.getItem(TOKEN);
	},
	/** Whether somebody is signed in, as far as this browser knows. */
	get isOpen() {
		return Boolean(this.token || localStorage.getItem(KEPT));
	},
	/** Who is signed in, as the server said last: name and role are null with ADMIN_TOKEN. */
	get who() {
		return JSON.parse(sessionStorage.getItem(WHO));
	},
	set who(who) {
		sessionStorage.setItem(WHO, JSON.stringify(who));
		sessionStorage.setItem(ACTOR, typedName());
	},
	/** The name for histories and assignments. */
	get actor() {
		return this.who?.name ?? typedName();
	},
	may(right) {
		return Boolean(this.who?.rights.includes(right));
	},
	begin(token, actor) {
		sessionStorage.setItem(TOKEN, token);
		for (const storage of [sessionStorage, localStorage]) storage.setItem(ACTOR, actor);
	},
	/** From now on the cookie stands in for the token. */
	keep() {
		sessionStorage.removeItem(TOKEN);
		// Never the same text again: that would be no change, of which other tabs are told.
		localStorage.setItem(KEPT, String(Date.now()));
	},
	/** Call back when another tab has changed who the cookie, on which this tab relies, stands for. */
	whenChangedElsewhere(callback) {
		addEventListener("storage", ({ key }) => (key === KEPT || key === null) && !this.token && callback());
	},
	/** Forget who was signed in: in this tab, and in the browser where the tab relied on the cookie. Drafts stay. */
	end({ inBrowser = !this.token } = {}) {
		for (const key of [TOKEN, WHO, ACTOR]) sessionStorage.removeItem(key);
		if (inBrowser) localStorage.removeItem(KEPT);
	},
	whenUnauthorized(callback) {
		onUnauthorized = callback;
	},
};

function withCredentials(headers) {
	const isNamed = session.actor && !session.who?.name;
	const actor = isNamed ? { "X-Actor": encodeURIComponent(session.actor) } : {};
	// The cookie counts only beside this header, which no other site can send.
	const proof = session.token ? { authorization: `Bearer ${session.token}` } : { "X-Leadcrm": "studio" };
	return { ...proof, ...actor, ...headers };
}

const SLOW_MS = 1000;

/** How many requests have waited long for their answer; `whenSlow` is told whether there are any. */
export const traffic = {
	slow: 0,
	onSlow: () => {},
	whenSlow(callback) {
		this.onSlow = callback;
	},
	async watch(answer) {
		let isSlow = false;
		const count = (step) => {
			this.slow += step;
			this.onSlow(this.slow > 0);
		};
		const timer = setTimeout(() => {
			isSlow = true;
			count(1);
		}, SLOW_MS);
		try {
			return await answer;
		} finally {
			clearTimeout(timer);
			if (isSlow) count(-1);
		}
	},
};

/** Send a request and return its response. Raises ApiError unless the status is 2xx. */
export async function request(path, options = {}) {
	let response;
	try {
		response = await fetch(path, { ...options, headers: withCredentials(options.headers), cache: "no-store" });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new ApiError(0, { message: "The server cannot be reached." });
	}
	if (response.ok) return response;
	// An error without JSON is told by its status.
	const document = await response.json().catch(() => null);
	if (response.status === 401) onUnauthorized(document?.message ?? "The token is no longer valid.");
	throw new ApiError(response.status, document);
}

const requestJson = async (path, options) => (await traffic.watch(request(path, options))).json();

const withBody = (method, document, headers = {}) => ({
	method,
	body: JSON.stringify(document),
	headers: { "Content-Type": "application/json", ...headers },
});

const query = (parameters) => {
	const text = new URLSearchParams(parameters).toString();
	return text ? `?${text}` : "";
};

const DATE = /^\d{4}-\d{2}-\d{2}$/;

/** Say whose days the dates of a filter are. */
const zoned = (parameters) => {
	const hasDate = parameters.some?.(([name, value]) => ["from", "to"].includes(name) && DATE.test(value));
	return hasDate ? [...parameters, ["zone", zone.name]] : parameters;
};

const inZone = (parameters) => [...parameters, ["zone", zone.name]];

/** An id as one segment of a path. An id comes from the address bar: whatever is no id must lead to no other path. */
const segment = (id) => {
	if (/^[0-9a-f-]+$/i.test(id)) return id;
	throw new ApiError(404, { message: "That is no id of a lead or request." });
};

/** A lead's version for If-Match: the digits of its time of change, to the microsecond. */
const versionOf = (lead) => `"${lead.updatedAt.replace(/\D/g, "").padEnd(20, "0")}"`;

/** Whether what is known of a lead is older than something else that is known of it. */
export const isOlder = (lead, other) =>
	Boolean(lead.updatedAt && other.updatedAt && versionOf(lead) < versionOf(other));

export const api = {
	leads: (parameters, signal) => requestJson(`api/leads${query(zoned(parameters))}`, { signal }),
	lead: (id) => requestJson(`api/leads/${segment(id)}`),
	change: (lead, changes) =>
		requestJson(`api/leads/${segment(lead.id)}`, withBody("PATCH", changes, { "If-Match": versionOf(lead) })),
	changeMany: (ids, changes, expected) =>
		requestJson("api/leads/bulk", withBody("POST", { ids, ...changes, ...(expected && { expected }) })),
	addNote: (id, text) => requestJson(`api/leads/${segment(id)}/notes`, withBody("POST", { text })),
	takeNext: () => requestJson("api/leads/next", { method: "POST" }),
	count: (parameters) => requestJson(`api/leads/count${query(zoned(parameters))}`),
	others: (ids) => requestJson(`api/leads/others${query(ids.map((id) => ["id", id]))}`),
	values: (column) => requestJson(`api/leads/values${query({ column })}`),
	choices: (zoneName) => requestJson(`api/choices${query({ zone: zoneName })}`),
	exportLeads: (parameters, format) => request(`api/leads/export${query(inZone([...parameters, ["format", format]]))}`),
	inbox: (parameters, signal) => requestJson(`api/raw${query(zoned(parameters))}`, { signal }),
	archive: (asked) => requestJson("api/raw/archive", withBody("POST", asked)),
	raw: (id) => requestJson(`api/raw/${segment(id)}`),
	replay: (id) => requestJson(`api/raw/${segment(id)}/replay`, { method: "POST" }),
	correct: (id, asked) => requestJson(`api/raw/${segment(id)}/correct`, withBody("POST", asked)),
	tryRaw: (id, asked) => requestJson(`api/raw/${segment(id)}/try`, withBody("POST", asked)),
	sources: () => requestJson("api/sources"),
	source: (name) => requestJson(`api/sources/${encodeURIComponent(name)}`),
	presets: () => requestJson("api/presets"),
	sinks: () => requestJson("api/sinks"),
	deliveries: (parameters) => requestJson(`api/deliveries${query(parameters)}`),
	retryDeliveries: (chosen) => requestJson("api/deliveries/retry", withBody("POST", chosen)),
	dropDeliveries: (chosen) => requestJson("api/deliveries/drop", withBody("POST", chosen)),
	whoAmI: () => requestJson("api/session"),
	staySignedIn: () => requestJson("api/session", { method: "POST" }),
	signOut: () => requestJson("api/session", { method: "DELETE" }),
	tokens: () => requestJson("api/tokens"),
	addToken: (token) => requestJson("api/tokens", withBody("POST", token)),
	revokeToken: (id) => requestJson(`api/tokens/${segment(id)}`, { method: "DELETE" }),
	trail: (parameters, signal) => requestJson(`api/audit${query(parameters)}`, { signal }),
	statistics: (parameters) => requestJson(`api/stats${query(inZone(parameters))}`),
	outcomes: (parameters) => requestJson(`api/stats/outcomes${query(inZone(parameters))}`),
};
