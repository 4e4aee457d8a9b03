// The studio: signing in, the views, the drawer beside them, the keyboard and what arrives by itself.

import { api, listen, session } from "./api.js";
import { byId, h, notice, number } from "./dom.js";
import { Drawer } from "./drawer.js";
import { InboxView } from "./inbox.js";
import { LeadsView } from "./leads.js";
import { OverviewView } from "./overview.js";
import { place } from "./place.js";

const THEME = "leadcrm.theme";
let views = null;
let drawer = null;

const open = (id) => place.go({ open: id });
const current = () => views[place.view] ?? views.leads;

function show() {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === place.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  current().show(byId("view"));
  if (place.open) drawer.open(place.open);
  else drawer.close();
}

async function countInbox() {
  try {
    const [failed, invalid] = await Promise.all(["failed", "invalid"].map((state) => api.inbox({ state, limit: 100 })));
    const waiting = failed.rows.length + invalid.rows.length;
    const link = document.querySelector('nav a[data-view="inbox"]');
    link.querySelector(".badge")?.remove();
    if (waiting) link.append(h("span", { class: "badge", title: "failed or invalid" }, waiting >= 100 ? "99+" : number(waiting)));
  } catch {
    // The next look counts again.
  }
}

function begin() {
  byId("sign-in").hidden = true;
  byId("studio").hidden = false;
  if (!views) {
    views = { leads: new LeadsView(open), inbox: new InboxView(open), overview: new OverviewView() };
    drawer = new Drawer(byId("drawer"), {
      onClose: () => place.go({ open: null }),
      onChanged: (lead) => views.leads.grid.update(lead),
      onReplayed: (done) => {
        views.inbox.replayed(done);
        countInbox();
      },
    });
    views.leads.onChanged = (lead) => drawer.id === lead.id && drawer.refresh();
    views.inbox.onReplayed = countInbox;
    place.whenChanged(() => session.token && show());
  }
  show();
  countInbox();
  let hasBeenAway = false;
  listen({
    onState: (state) => {
      byId("live").dataset.state = state;
      byId("live").textContent = state === "live" ? "live" : "reconnecting";
      if (state === "live" && hasBeenAway) {
        views.leads.missed();
        if (place.view === "overview") views.overview.reload();
      }
      hasBeenAway = state !== "live";
    },
    onLeads: (event) => {
      views.leads.arrived(event);
      if (place.view === "overview") views.overview.arrived();
    },
    onChanges: (event) => {
      views.leads.othersChanged(event);
      if (event.ids.includes(drawer.id) && !byId("drawer").contains(document.activeElement)) drawer.refresh();
    },
  });
}

function askForToken(message = "") {
  session.end();
  byId("studio").hidden = true;
  byId("sign-in").hidden = false;
  byId("sign-in-error").hidden = !message;
  byId("sign-in-error").textContent = message;
  byId("actor").value = session.actor;
  byId("token").value = "";
  byId("token").focus();
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  // No header can hold it, so the browser would not even ask.
  if (/[^\x20-\x7e]/.test(byId("token").value)) return askForToken("That is not the token.");
  const button = event.target.querySelector("button");
  button.disabled = true;
  session.begin(byId("token").value.trim(), byId("actor").value.trim());
  try {
    await api.leads({ limit: 1 });
    begin();
  } catch (error) {
    askForToken(error.status === 401 ? "That is not the token." : error.message);
  }
  button.disabled = false;
  return undefined;
});

session.whenOver(() => byId("sign-in").hidden && askForToken("The token is no longer valid."));
byId("sign-out").addEventListener("click", () => {
  session.end();
  location.reload();
});
byId("help").addEventListener("click", () => byId("shortcuts").showModal());
byId("theme").addEventListener("click", () => {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem(THEME, document.documentElement.dataset.theme);
});

// Links within the studio change the view, not the page.
document.addEventListener("click", (event) => {
  const link = event.target.closest("nav a, a[data-go]");
  if (!link || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  place.visit(link.getAttribute("href"));
});

document.addEventListener("keydown", (event) => {
  if (!views || byId("studio").hidden || event.metaKey || event.ctrlKey || event.altKey || byId("shortcuts").open) return;
  if (event.key === "Escape") {
    if (event.target.matches("input")) event.target.blur();
    else if (place.open) place.go({ open: null });
    return;
  }
  if (event.target.matches("input, select, textarea")) return;
  // Enter on a control is that control's.
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const others = {
    "/": () => {
      if (place.view !== "leads") place.visit("?");
      views.leads.search.focus();
      views.leads.search.select();
    },
    "?": () => byId("shortcuts").showModal(),
    1: () => place.visit("?"),
    2: () => place.visit("?view=inbox"),
    3: () => place.visit("?view=overview"),
  };
  if (others[event.key]) others[event.key]();
  else if (!current().key(event.key)) return;
  event.preventDefault();
});

const theme = localStorage.getItem(THEME);
if (theme) document.documentElement.dataset.theme = theme;
addEventListener("unhandledrejection", (event) => notice(event.reason?.message ?? "Something went wrong.", "error"));
if (session.token) begin();
else askForToken();
