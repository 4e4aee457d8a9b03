// Views that are opened now and then: their code and style come when they are first shown.

import { h, notice } from "./dom.js";
import { place } from "./place.js";

/** Add a style sheet to the page once, and return when it is in force. */
function addStyle(href) {
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

	step() {}

	key() {
		return false;
	}
}
