// Calling and writing: links for a phone and an address, and copies of them.

import { button, h, notice } from "./dom.js";

const SHORTEST_WITH_COUNTRY = 11;

/** The address that a telephone dials; an extension and all that is no number is left out. */
export const dialed = (phone) => `tel:${/^[\s(]*\+/.test(phone) ? "+" : ""}${phone.replace(/\D/g, "")}`;

/** The number as WhatsApp takes it, with its country; null where the country is not known. */
export function whatsAppNumber(phone) {
	const digits = phone.replace("(0)", "").replace(/\D/g, "");
	const number = digits.replace(/^00/, "");
	const hasCountry = /^[\s(]*\+/.test(phone) || digits.startsWith("00") || number.length >= SHORTEST_WITH_COUNTRY;
	return hasCountry && number.length > 6 && !number.startsWith("0") ? number : null;
}

const isDialable = (phone) => phone.replace(/\D/g, "").length > 2;

export async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
		notice(`Copied ${text}`);
	} catch {
		// Without HTTPS a browser gives no clipboard.
		notice("The browser does not allow to copy here. Select the text instead.", "error");
	}
}

function links(value, { href, verb, control, extra = [] }) {
	const copyText = { class: "quiet", "aria-label": `Copy ${value}`, title: "Copy" };
	return h(
		"span",
		{ class: "contact" },
		h("a", { href, title: value, "data-control": control, "aria-label": `${verb} ${value}` }, value),
		extra,
		button("copy", () => copy(value), copyText),
	);
}

export function phoneLinks(phone) {
	if (!phone || !isDialable(phone)) return phone;
	const number = whatsAppNumber(phone);
	const properties = {
		target: "_blank",
		rel: "noreferrer noopener",
		"aria-label": `WA, WhatsApp ${phone}`,
		title: "WhatsApp",
	};
	const extra = number ? [h("a", { ...properties, class: "chat", href: `https://wa.me/${number}` }, "WA")] : [];
	return links(phone, { href: dialed(phone), verb: "Call", control: "phone", extra });
}

export function emailLinks(email) {
	if (!email?.includes("@")) return email;
	// Of an address with a question mark, the rest would become headers of the mail.
	return links(email, {
		href: `mailto:${encodeURIComponent(email).replace("%40", "@")}`,
		verb: "Write to",
		control: "email",
	});
}
