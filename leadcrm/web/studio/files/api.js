// Talking to the server. The token lives in this tab's session storage and in one header, never in an address.

const TOKEN = "leadcrm.token";
const ACTOR = "leadcrm.actor";

export class ApiError extends Error {
  constructor(status, document) {
    super(document?.message || document?.error || `the server answered ${status}`);
    this.status = status;
    this.document = document;
  }
}

let onSignedOut = () => {};

export const session = {
  get token() { return sessionStorage.getItem(TOKEN); },
  get actor() { return localStorage.getItem(ACTOR) || ""; },
  begin(token, actor) {
    sessionStorage.setItem(TOKEN, token);
    localStorage.setItem(ACTOR, actor);
  },
  end() { sessionStorage.removeItem(TOKEN); },
  whenOver(callback) { onSignedOut = callback; },
};

function headers(more = {}) {
  const given = { Authorization: `Bearer ${session.token}`, ...more };
  if (session.actor) given["X-Actor"] = encodeURIComponent(session.actor);
  return given;
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The server cannot be reached." });
  }
  if (response.ok) return response;
  let document = null;
  try {
    document = await response.json();
  } catch {
    // No JSON: the status says enough.
  }
  if (response.status === 401) onSignedOut();
  throw new ApiError(response.status, document);
}

const json = async (path, options) => (await request(path, options)).json();

const sent = (method, document, more = {}) => ({
  method,
  body: document === undefined ? undefined : JSON.stringify(document),
  headers: document === undefined ? more : { "Content-Type": "application/json", ...more },
});

const query = (parameters) => {
  const text = new URLSearchParams(parameters).toString();
  return text ? `?${text}` : "";
};

/** The version of a lead as If-Match names it: the digits of its time of change, to the microsecond. */
const versionOf = (lead) => `"${lead.updatedAt.replace(/\D/g, "").padEnd(20, "0")}"`;

export const api = {
  leads: (parameters, signal) => json(`api/leads${query(parameters)}`, { signal }),
  lead: (id) => json(`api/leads/${id}`),
  change: (lead, changes) => json(`api/leads/${lead.id}`, sent("PATCH", changes, { "If-Match": versionOf(lead) })),
  changeMany: (ids, changes) => json("api/leads/bulk", sent("POST", { ids, ...changes })),
  inbox: (parameters, signal) => json(`api/raw${query(parameters)}`, { signal }),
  raw: (id) => json(`api/raw/${id}`),
  replay: (id) => json(`api/raw/${id}/replay`, sent("POST")),
  statistics: (parameters) => json(`api/stats${query(parameters)}`),

  /** Save a file of leads: straight to disk where the browser can, else by way of memory. */
  async export(parameters, format) {
    const name = `leads-${new Date().toISOString().slice(0, 16).replace(/[T:]/g, "-")}.${format}`;
    let file = null;
    if (window.showSaveFilePicker && navigator.userActivation?.isActive && !navigator.webdriver) {
      file = await window.showSaveFilePicker({ suggestedName: name });
    }
    const response = await request(`api/leads/export${query([...parameters, ["format", format]])}`);
    if (file) {
      await response.body.pipeTo(await file.createWritable());
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  },
};

/** Listen for new leads and changes, for as long as the person is signed in; comes back by itself. */
export async function listen({ onState, onLeads, onChanges }) {
  let pause = 1000;
  while (session.token) {
    try {
      const response = await request("api/leads/stream");
      onState("live");
      pause = 1000;
      await read(response.body, { leads: onLeads, changes: onChanges });
    } catch (error) {
      if (error.status === 401 || error.status === 403) return;
    }
    onState("away");
    await new Promise((resume) => setTimeout(resume, pause));
    pause = Math.min(pause * 2, 15000);
  }
}

async function read(stream, handlers) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (waiting + value).split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
      if (name && data) handlers[name]?.(JSON.parse(data));
    }
  }
}
