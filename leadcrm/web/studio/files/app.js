// The studio: signing in, the views, the drawer beside them, the keyboard and live updates.

import { api, DRAFTS, session, traffic } from "./api.js";
import { choices } from "./changes.js";
import { closeChooser } from "./chooser.js";
import { byId, h, notice } from "./dom.js";
import { offsetName, zone } from "./format.js";
import { LazyDrawer, LazyView } from "./lazy.js";
import { LeadsView } from "./leads.js";
import { place } from "./place.js";
import { listen } from "./stream.js";
import { undoLast } from "./undo.js";

const THEME = "leadcrm.theme";
const PLACES_STYLE = "studio/places.css";
const MAX_COUNTED = 100;
// In these a lead may be that nobody sees.
const STATES_TO_MEND = ["failed", "invalid", "unverified", "unrouted"];
const INBOX_LOOK_MS = 10_000;
const MAX_STREAM_WAIT_MS = 500;
const WRONG_TOKEN = "That is not the token.";
const RETRY_MS = 2000;

let views = null;
let drawer = null;

// Only what has a link that the role may see is a view.
const currentView = () => {
	const link = document.querySelector(`nav [data-view="${CSS.escape(place.view)}"]`);
	const isOffered = link && (!link.dataset.needs || session.may(link.dataset.needs));
	return isOffered ? views[place.view] : views.leads;
};

function show() {
	for (const link of document.querySelectorAll("nav a")) {
		if (link.dataset.view === place.view) {
			link.setAttribute("aria-current", "page");
			// A phone has no room for all of them.
			link.scrollIntoView({ block: "nearest", inline: "nearest" });
		} else link.removeAttribute("aria-current");
	}
	closeChooser();
	currentView().show(byId("view"));
	if (place.open)
		drawer.open(
			place.open,
			views.leads.rows.items.find((lead) => lead.id === place.open),
		);
	else drawer.close();
	hideBehindDrawer();
}

// On a phone the drawer covers the view, and the keyboard must not go where the eye cannot.
function hideBehindDrawer() {
	byId("view").inert = Boolean(place.open) && matchMedia("(max-width: 760px)").matches;
}

async function loadChoices() {
	try {
		choices.set(await askForChoices());
		views.leads.grid.draw();
	} catch (error) {
		notice(error.message, "error");
	}
}

/** Ask for the choices and for the zone that everybody means; one that the server does not know is told by its offset. */
async function askForChoices() {
	let answer;
	try {
		answer = await api.choices(zone.name);
	} catch (error) {
		if (error.status !== 400) throw error;
		zone.set(offsetName(new Date()));
		answer = await api.choices(zone.name);
	}
	if (answer.timeZone) zone.set(answer.timeZone);
	return answer;
}

async function countInbox() {
	try {
		const states = STATES_TO_MEND.map((state) => ["state", state]);
		const count = (await api.inbox([...states, ["limit", MAX_COUNTED]])).rows.length;
		const link = document.querySelector('nav a[data-view="inbox"]');
		link.querySelector(".badge")?.remove();
		const text = count >= MAX_COUNTED ? `${MAX_COUNTED - 1}+` : String(count);
		if (count) link.append(h("span", { class: "badge", title: STATES_TO_MEND.join(", ") }, text));
	} catch {
		// The next sign-in or replay counts again.
	}
}

// Requests that are no leads are not announced.
function lookAtInbox() {
	if (!(views && session.token)) return;
	countInbox();
	if (place.view === "inbox") views.inbox.view?.look();
}

function makeViews() {
	const open = (id, options) => place.go({ open: id }, options);
	views = {
		leads: new LeadsView(open),
		inbox: new LazyView("inbox", {
			load: () => import("./inbox.js"),
			make: ({ InboxView }) => new InboxView(open, countInbox),
		}),
		overview: new LazyView("overview", {
			load: () => import("./overview.js"),
			make: ({ OverviewView }) => new OverviewView(),
			style: "studio/overview.css",
		}),
		sources: new LazyView("sources", {
			load: () => import("./sources.js"),
			make: ({ SourcesView }) => new SourcesView(),
			style: PLACES_STYLE,
		}),
		sinks: new LazyView("sinks", {
			load: () => import("./sinks.js"),
			make: ({ SinksView }) => new SinksView(),
			style: PLACES_STYLE,
		}),
		people: new LazyView("people", {
			load: () => import("./people.js"),
			make: ({ PeopleView }) => new PeopleView(open),
			style: "studio/people.css",
		}),
	};
	drawer = new LazyDrawer(byId("drawer"), {
		onClose: () => place.go({ open: null }),
		onClosed: (id) => currentView().grid?.control("open", id)?.focus({ preventScroll: true }),
		onStep: (step) => currentView().step(step),
		onChanged: (lead) => views.leads.rows.update(lead),
		onReplayed: (done) => {
			views.inbox.view?.replayed(done);
			countInbox();
		},
	});
	views.leads.onChanged = (lead) => drawer.id === lead.id && drawer.refresh();
	place.whenChanged(() => session.isOpen && show());
}

function begin() {
	byId("sign-in").hidden = true;
	byId("studio").hidden = false;
	showWho();
	makeViews();
	let isShown = false;
	const known = loadChoices();
	const showOnce = async () => {
		if (isShown || !session.isOpen) return;
		isShown = true;
		// The zone of all times is among them.
		await known;
		show();
		countInbox();
	};
	// What arrives while the list is read is announced only if the announcements have begun before. They may be slow.
	setTimeout(showOnce, MAX_STREAM_WAIT_MS);
	let wasAway = false;
	listen({
		onState: (state) => {
			byId("live").dataset.state = state;
			byId("live").textContent = state === "live" ? "live" : "reconnecting";
			if (state === "live" && wasAway && place.view === "overview") views.overview.view?.reload();
			wasAway = state !== "live";
			showOnce();
		},
		onMissed: () => views.leads.missed(),
		onLeads: (event) => {
			views.leads.arrived(event);
			if (place.view === "overview") views.overview.view?.arrived();
		},
		onChanges: (event) => {
			views.leads.othersChanged(event);
			if (event.ids.includes(drawer.id)) drawer.refresh();
		},
	});
}

function showWho() {
	const { name, role, rights } = session.who;
	document.documentElement.dataset.may = rights.join(" ");
	byId("who").textContent = name ?? session.actor;
	byId("who").title = role ? `Signed in as ${name}, ${role}` : "Signed in with ADMIN_TOKEN";
}

/** Go on as who this browser was signed in as. */
async function resume() {
	for (;;) {
		try {
			session.who = await api.whoAmI();
			begin();
			return;
		} catch (error) {
			if (error.status === 401 || error.status === 403) {
				askForToken(error.message);
				return;
			}
			notice(error.message, "error");
			await new Promise((again) => setTimeout(again, RETRY_MS));
		}
	}
}

function askForToken(message = "") {
	const { actor } = session;
	session.end();
	byId("studio").hidden = true;
	byId("sign-in").hidden = false;
	byId("sign-in-error").hidden = !message;
	byId("sign-in-error").textContent = message;
	byId("actor").value = actor;
	byId("token").value = "";
	byId("token").focus();
}

async function signIn(event) {
	event.preventDefault();
	const token = byId("token").value;
	session.begin(token.trim(), byId("actor").value.trim());
	// A header cannot hold other characters: the browser would not even send the request.
	if (/[^\x20-\x7e]/.test(token)) {
		askForToken(WRONG_TOKEN);
		return;
	}
	const button = event.target.querySelector("button");
	button.disabled = true;
	try {
		session.who = await api.whoAmI();
		if (byId("keep").checked) {
			await api.staySignedIn();
			session.keep();
		}
		// What an earlier person left, and what came while nobody was signed in, is not to be told apart.
		if (views) location.reload();
		else begin();
	} catch (error) {
		askForToken(/wrong/.test(error.message) ? WRONG_TOKEN : error.message);
	}
	button.disabled = false;
}

async function signOut() {
	// Where the server is away, the cookie ends with its time.
	await api.signOut().catch(() => {});
	session.end({ inBrowser: true });
	sessionStorage.removeItem(DRAFTS);
	location.reload();
}

function switchTheme() {
	const root = document.documentElement;
	const isDark = root.dataset.theme
		? root.dataset.theme === "dark"
		: matchMedia("(prefers-color-scheme: dark)").matches;
	root.dataset.theme = isDark ? "light" : "dark";
	localStorage.setItem(THEME, root.dataset.theme);
}

// Links within the studio change the view and do not load the page again.
function followLink(event) {
	const link = event.target.closest("nav a, a[data-go]");
	if (!link || event.metaKey || event.ctrlKey) return;
	event.preventDefault();
	place.visit(link.getAttribute("href"));
}

async function showShortcuts() {
	(await import("./shortcuts.js")).showShortcuts();
}

const SHORTCUTS = {
	"/": () => {
		if (place.view !== "leads") place.visit("?");
		views.leads.search.focus();
		views.leads.search.select();
	},
	"?": showShortcuts,
	z: undoLast,
	1: () => place.visit("?"),
	2: () => place.visit("?view=inbox"),
	3: () => place.visit("?view=overview"),
	4: () => place.visit("?view=sources"),
	5: () => place.visit("?view=sinks"),
};

// Where letters are typed they are no shortcuts. A box that is checked takes none.
const TYPED = 'input:not([type="checkbox"]), textarea';

const NEEDED_RIGHTS = { n: "work", x: "bulk", E: "bulk", A: "bulk", 4: "operate", 5: "operate" };

function pressKey(event) {
	const { key, target } = event;
	const isStudioOpen = views && !byId("studio").hidden && !document.querySelector("dialog[open]");
	if (!isStudioOpen || event.metaKey || event.ctrlKey || event.altKey) return;
	if (key === "Escape") {
		if (target.matches(TYPED)) target.blur();
		else if (place.open) place.go({ open: null });
		return;
	}
	if (target.matches(`${TYPED}, select`)) return;
	// Enter on a control belongs to that control.
	if (key === "Enter" && target.closest("a, button, summary")) return;
	if (NEEDED_RIGHTS[key] && !session.may(NEEDED_RIGHTS[key])) return;
	if (SHORTCUTS[key]) SHORTCUTS[key]();
	else if (!(place.open && drawer.key(key)) && !currentView().key(key)) return;
	event.preventDefault();
}

traffic.whenSlow((isSlow) => {
	byId("slow").hidden = !isSlow;
});
session.whenChangedElsewhere(() => views && location.reload());
session.whenUnauthorized((message) => byId("sign-in").hidden && askForToken(message));
byId("sign-in-form").addEventListener("submit", signIn);
byId("sign-out").addEventListener("click", signOut);
byId("help").addEventListener("click", showShortcuts);
byId("theme").addEventListener("click", switchTheme);
byId("tell").addEventListener("click", async () => (await import("./wishes.js")).askWishes());
document.addEventListener("click", followLink);
document.addEventListener("keydown", pressKey);
addEventListener("resize", hideBehindDrawer);
addEventListener("focus", lookAtInbox);
setInterval(lookAtInbox, INBOX_LOOK_MS);
addEventListener("unhandledrejection", (event) => notice(event.reason?.message ?? "Something went wrong.", "error"));

const theme = localStorage.getItem(THEME);
if (theme) document.documentElement.dataset.theme = theme;
if (session.isOpen) resume();
else askForToken();
