// The little of a browser that the modules under test use.

/** A server to fetch from: it remembers requests and answers by `respond`, a function of path and options. */
export const server = {
	requests: [],
	respond: () => json({}),
};

export const json = (document, status = 200) => new Response(JSON.stringify(document), { status });

/** A page of leads as the API answers it. */
export const page = (leads, next = null) => json({ leads, next });

/** A promise to be settled from outside. */
export function deferred() {
	const parts = {};
	parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
	return parts;
}

globalThis.fetch = (path, options = {}) => {
	server.requests.push({ path, ...options });
	const { promise, resolve, reject } = deferred();
	options.signal?.addEventListener("abort", () => reject(options.signal.reason));
	Promise.resolve(server.respond(path, options)).then(resolve, reject);
	return promise;
};

class MemoryStorage {
	items = new Map();

	getItem(name) {
		return this.items.get(name) ?? null;
	}

	setItem(name, value) {
		this.items.set(name, String(value));
	}

	removeItem(name) {
		this.items.delete(name);
	}
}

// Some versions of Node have storages of their own, which keep nothing.
for (const name of ["sessionStorage", "localStorage"]) {
	Object.defineProperty(globalThis, name, { value: new MemoryStorage(), configurable: true, writable: true });
}

/** The address bar: `past` holds the addresses that the back button leads to. */
export const addressBar = { past: [], onPop: () => {} };

globalThis.location = {};

function setAddress(address) {
	const { href, pathname, search } = new URL(address, "http://localhost/studio");
	Object.assign(location, { href, pathname, search });
}

globalThis.history = {
	pushState(_state, _title, address) {
		addressBar.past.push(location.href);
		setAddress(address);
	},
	replaceState(_state, _title, address) {
		setAddress(address);
	},
	back() {
		setAddress(addressBar.past.pop());
		addressBar.onPop();
	},
};

/** What the window calls back, by the name of the event. */
export const listeners = new Map();

globalThis.addEventListener = (name, callback) => {
	listeners.set(name, callback);
	if (name === "popstate") addressBar.onPop = callback;
};

/** Start anew: nothing asked, nothing stored, at an address. */
export function reset(search = "") {
	Object.assign(server, { requests: [], respond: () => json({}) });
	Object.assign(addressBar, { past: [], onPop: () => {} });
	setAddress(`/studio${search}`);
	sessionStorage.items.clear();
	localStorage.items.clear();
}
