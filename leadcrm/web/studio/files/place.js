// The view, the filter and what is open, kept in the address bar: so an address can be passed on.

const FILTER_LABELS = {
	q: "Search",
	status: "Status",
	assignedTo: "Assigned to",
	country: "Country",
	offer: "Offer",
	marker: "Marker",
	domain: "Domain",
	source: "Source",
	sourcetype: "Source type",
	lang: "Language",
	email: "Email",
	phone: "Phone",
	from: "From",
	to: "To",
	due: "Call due by",
	creo: "Creative",
	click_id: "Click id",
	contains: "Contains",
	tests: "Test leads",
};

export const FILTERS = Object.keys(FILTER_LABELS);

/** The order of the leads unless the address says another. */
export const NEWEST_FIRST = "-arrived";

const SORTS = [NEWEST_FIRST, "arrived", "-updated", "updated", "status", "-status", "callAt", "-callAt"];

export const LABELS = {
	...FILTER_LABELS,
	description: "Description",
	firstName: "First name",
	lastName: "Last name",
	ip: "IP address",
};

let onChange = () => {};

export const place = {
	get parameters() {
		return new URLSearchParams(location.search);
	},
	get view() {
		return this.parameters.get("view") || "leads";
	},
	get open() {
		return this.parameters.get("open");
	},
	/** The filter as the API takes it: pairs, in which a name may come more than once. */
	get filter() {
		return [...this.parameters].filter(([name]) => FILTERS.includes(name));
	},
	/** The order as the API takes it. A search has none of its own. */
	get sort() {
		const sort = this.parameters.get("sort");
		return SORTS.includes(sort) && !this.parameters.get("q") ? sort : NEWEST_FIRST;
	},
	whenChanged(callback) {
		onChange = callback;
		addEventListener("popstate", () => callback());
	},
	/** Change parameters of the address: null removes one, a list sets several values. */
	go(changes, options) {
		const parameters = this.parameters;
		for (const [name, value] of Object.entries(changes)) {
			parameters.delete(name);
			for (const each of [value].flat()) if (each !== null && each !== undefined) parameters.append(name, each);
		}
		this.visit(`?${parameters}`, options);
	},
	visit(address, { replace = false } = {}) {
		history[replace ? "replaceState" : "pushState"](null, "", address === "?" ? location.pathname : address);
		onChange();
	},
};
