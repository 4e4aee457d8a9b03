// Being told: a number in the title, a dot on the icon and, where the person wants them, a sound and a desktop notice.

import { formatNumber } from "./format.js";

const KEPT = "leadcrm.alerts";
const TITLE = "leadcrm studio";
export const KINDS = { unassigned: "leads that nobody has", mine: "leads of mine", due: "calls that are due" };
const TONE_HZ = 880;
const TONE_S = 0.25;

/** What the person wants to be told of, and how, as this browser keeps it. */
export const wishes = {
	get kept() {
		const asked = { kinds: ["unassigned", "due"], sound: false, desktop: false };
		try {
			const kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
			const kinds = Array.isArray(kept.kinds) ? kept.kinds.filter((kind) => Object.hasOwn(KINDS, kind)) : asked.kinds;
			return { kinds, sound: kept.sound === true, desktop: kept.desktop === true };
		} catch {
			return asked;
		}
	},
	keep(changes) {
		localStorage.setItem(KEPT, JSON.stringify({ ...this.kept, ...changes }));
	},
};

/** What has become more, of the kinds that somebody wants to be told of: the text of a notice, or null. */
export function newsOf(kinds, before, now) {
	const more = kinds.filter((kind) => before?.[kind] !== undefined && now[kind] > before[kind]);
	return more.length ? more.map((kind) => `${formatNumber(now[kind])} ${KINDS[kind]}`).join(", ") : null;
}

let before = null;

/** Take the numbers of leads by kind, and tell of what is new. */
export function tell(now) {
	const { kinds, sound, desktop } = wishes.kept;
	const count = kinds.reduce((sum, kind) => sum + (now[kind] ?? 0), 0);
	document.title = count ? `(${formatNumber(count)}) ${TITLE}` : TITLE;
	const news = newsOf(kinds, before, now);
	before = now;
	if (!news) return;
	if (!document.hasFocus()) setDot(true);
	if (sound) play();
	if (desktop && window.Notification?.permission === "granted") {
		// The same tag: one notice is replaced by the next.
		const shown = new Notification("leadcrm", { body: news, tag: "leadcrm" });
		shown.onclick = () => window.focus();
	}
}

/** Tell again, by other wishes. */
export function tellAgain() {
	if (before) tell(before);
}

function setDot(isOn) {
	const icon = document.querySelector('link[rel="icon"]');
	icon.href = icon.href.replace(/icon(-dot)?\.svg$/, isOn ? "icon-dot.svg" : "icon.svg");
}

export function play() {
	try {
		const context = new AudioContext();
		const tone = context.createOscillator();
		const volume = context.createGain();
		volume.gain.setValueAtTime(0.2, context.currentTime);
		volume.gain.exponentialRampToValueAtTime(0.001, context.currentTime + TONE_S);
		tone.frequency.value = TONE_HZ;
		tone.connect(volume).connect(context.destination);
		tone.start();
		tone.stop(context.currentTime + TONE_S);
		tone.onended = () => context.close();
	} catch {
		// A browser without sound.
	}
}

addEventListener("focus", () => setDot(false));
