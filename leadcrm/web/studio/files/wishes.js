// The dialog in which a person says what to be told of, and how.

import { KINDS, play, tellAgain, wishes } from "./attention.js";
import { byId, h, notice } from "./dom.js";

async function wantDesktop(event) {
	const { target } = event;
	if (target.checked && !window.Notification) {
		target.checked = false;
		notice("This browser has no desktop notices here; they need HTTPS.", "error");
	} else if (target.checked && (await Notification.requestPermission()) !== "granted") {
		target.checked = false;
		notice("The browser does not allow notices. Allow them in its settings for this page.", "error");
	}
	wishes.keep({ desktop: target.checked });
}

/** Show the person's wishes, to be changed. */
export function askWishes() {
	const dialog = byId("alerts");
	const { kinds, sound, desktop } = wishes.kept;
	const box = (label, checked, onchange) =>
		h("label", {}, h("input", { type: "checkbox", checked, onchange }), ` ${label}`);
	const kindBox = ([kind, text]) =>
		box(text, kinds.includes(kind), ({ target }) => {
			const others = wishes.kept.kinds.filter((each) => each !== kind);
			wishes.keep({ kinds: target.checked ? [...others, kind] : others });
			tellAgain();
		});
	dialog.querySelector(".wishes").replaceChildren(
		h("p", { class: "muted" }, "The title counts, and the icon has a dot, for"),
		...Object.entries(KINDS).map(kindBox),
		h("p", { class: "muted" }, "When there are more of them"),
		box("a sound", sound, ({ target }) => {
			wishes.keep({ sound: target.checked });
			if (target.checked) play();
		}),
		box("a notice on the desktop", desktop, wantDesktop),
	);
	dialog.showModal();
}
