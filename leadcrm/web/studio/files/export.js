// The export of the leads that match the filter.

import { api } from "./api.js";
import { button, h, notice } from "./dom.js";
import { place } from "./place.js";

const LINK_LIFE_MS = 60000;

/** Save a file of leads: straight to disk where the browser can, else through memory. */
async function save(format) {
	const name = `leads-${new Date().toISOString().slice(0, 16).replace(/[T:]/g, "-")}.${format}`;
	let file = null;
	if (window.showSaveFilePicker && navigator.userActivation?.isActive && !navigator.webdriver) {
		file = await window.showSaveFilePicker({ suggestedName: name });
	}
	const response = await api.exportLeads(place.filter, format);
	if (file) {
		await response.body.pipeTo(await file.createWritable());
		return;
	}
	const link = h("a", { href: URL.createObjectURL(await response.blob()), download: name });
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), LINK_LIFE_MS);
}

export function exportMenu() {
	const opener = button("Export", () => toggle(choices.hidden), { "aria-expanded": "false" });
	const choices = h(
		"div",
		{ hidden: true },
		button("CSV, for spreadsheets", () => choose("csv")),
		button("Excel, as a workbook", () => choose("xlsx")),
		button("NDJSON, for programs", () => choose("ndjson")),
	);
	const menu = h("div", { class: "menu", "data-needs": "export", onkeydown: closeOnEscape }, opener, choices);

	function toggle(isOpen) {
		choices.hidden = !isOpen;
		opener.setAttribute("aria-expanded", String(isOpen));
	}

	function closeOnEscape(event) {
		if (event.key !== "Escape") return;
		event.stopPropagation();
		toggle(false);
		opener.focus();
	}

	async function choose(format) {
		toggle(false);
		opener.disabled = true;
		try {
			await save(format);
			notice("Exported");
		} catch (error) {
			if (error.name !== "AbortError") notice(error.message, "error");
		}
		opener.disabled = false;
	}

	document.addEventListener("click", (event) => menu.contains(event.target) || toggle(false));
	return menu;
}
