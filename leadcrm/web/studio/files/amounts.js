// How shares, lengths of time and sizes read.

/** A share of a whole in percent. */
export const formatShare = (part, whole) => `${whole ? Math.round((part / whole) * 100) : 0}%`;

const UNITS = [
	["d", 86400],
	["h", 3600],
	["min", 60],
	["s", 1],
];

/** A length of time, by its largest unit and the next one. */
export function formatSeconds(seconds) {
	const index = Math.max(
		0,
		UNITS.findIndex(([, size]) => seconds >= size),
	);
	const [unit, size] = seconds < 1 ? UNITS[3] : UNITS[index];
	const rest = UNITS[index + 1];
	const more = rest && seconds >= size ? Math.floor((seconds % size) / rest[1]) : 0;
	return `${Math.floor(seconds / size)} ${unit}${more ? ` ${more} ${rest[0]}` : ""}`;
}

export function formatBytes(count) {
	if (count === null) return "";
	if (count < 1000) return `${count} B`;
	return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}
