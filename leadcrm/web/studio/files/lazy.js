// What the list of leads does not need: the other views, the drawer and menus. Their code and style come when they are
// first shown.

import { button, h, notice } from "./dom.js";
import { place } from "./place.js";

/** Add a style sheet to the page once, and return when it is in force. */
export function addStyle(href) {
	if (document.querySelector(`link[href="${href}"]`)) return null;
	return new Promise((resolve) => {
		document.head.append(h("link", { rel: "stylesheet", href, onload: resolve, onerror: resolve }));
	});
}

export class LazyView {
	/** `load` imports the module; `make` makes the view of what it exports; `style` is a style sheet of its own. */
	constructor(name, { load, make, style = null }) {
		Object.assign(this, { name, load, make, style, view: null, isLoading: false });
	}

	async show(container) {
		if (!this.view) {
			container.replaceChildren(h("p", { class: "muted loading", role: "status" }, "Loading…"));
			if (this.isLoading) return;
			this.isLoading = true;
			try {
				const [module] = await Promise.all([this.load(), this.style && addStyle(this.style)]);
				this.view = this.make(module);
			} catch {
				notice("This view cannot be loaded: the server cannot be reached.", "error");
				return;
			} finally {
				this.isLoading = false;
			}
		}
		if (place.view === this.name) this.view.show(container);
	}

	step(step) {
		this.view?.step?.(step);
	}

	key(key) {
		return this.view?.key?.(key) ?? false;
	}

	get grid() {
		return this.view?.grid;
	}
}

const DRAWER_KEYS = ["c", "e", "a"];

export class LazyDrawer {
	/** `callbacks` are the drawer's. */
	constructor(element, callbacks) {
		Object.assign(this, { element, callbacks, drawer: null, wanted: null });
	}

	get id() {
		return this.drawer?.id ?? null;
	}

	async open(id, listed = null) {
		this.wanted = id;
		if (!this.drawer) {
			try {
				const [{ Drawer }] = await Promise.all([import("./drawer.js"), addStyle("studio/drawer.css")]);
				this.drawer ??= new Drawer(this.element, this.callbacks);
			} catch {
				notice("The details cannot be loaded: the server cannot be reached.", "error");
				return;
			}
		}
		if (this.wanted === id) await this.drawer.open(id, listed);
	}

	close() {
		this.wanted = null;
		this.drawer?.close();
	}

	async refresh() {
		await this.drawer?.refresh();
	}

	/** Until the drawer is there, its keys must change no other lead. */
	key(key) {
		return this.drawer ? this.drawer.key(key) : DRAWER_KEYS.includes(key);
	}
}

/** A button whose menu comes with the first click. `load` returns what opens it, given its place and the button. */
export function lazyMenu(label, load, properties = {}) {
	const opener = button(label, open, { "aria-expanded": "false" });
	const menu = h("div", { class: "menu", ...properties }, opener);

	async function open() {
		opener.removeEventListener("click", open);
		try {
			(await load())(menu, opener);
		} catch {
			opener.addEventListener("click", open);
			notice("The menu cannot be loaded: the server cannot be reached.", "error");
		}
	}

	return menu;
}
