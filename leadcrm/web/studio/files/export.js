// The export of the leads that match the filter.

import { api } from "./api.js";
import { button, h, notice } from "./dom.js";
import { menuPanel } from "./menu.js";
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

/** Make the menu of a button, and open it. */
export function openExportMenu(menu, opener) {
	const choices = h(
		"div",
		{},
		button("CSV, for spreadsheets", () => choose("csv")),
		button("Excel, as a workbook", () => choose("xlsx")),
		button("NDJSON, for programs", () => choose("ndjson")),
	);
	const toggle = menuPanel(menu, opener, choices);

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
}
