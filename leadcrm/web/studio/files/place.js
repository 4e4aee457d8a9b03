// Where the person is, in the address bar: the view, the filter and what is open, so that an address can be passed on.

export const FILTERS = ["q", "status", "assignedTo", "country", "offer", "marker", "domain", "sourcetype", "lang", "email",
  "phone", "from", "to"];

export const LABELS = {
  q: "Search", status: "Status", assignedTo: "Assigned to", country: "Country", offer: "Offer", marker: "Marker",
  domain: "Domain", sourcetype: "Source", lang: "Language", email: "Email", phone: "Phone", from: "From (UTC)", to: "To (UTC)",
  click_id: "Click id", creo: "Creative", description: "Description", firstName: "First name", lastName: "Last name",
  ip: "IP address",
};

let onChange = () => {};

export const place = {
  get parameters() { return new URLSearchParams(location.search); },
  get view() { return this.parameters.get("view") || "leads"; },
  get open() { return this.parameters.get("open"); },
  /** The filter as the API takes it: pairs, of which names may come again. */
  get filter() { return [...this.parameters].filter(([name]) => FILTERS.includes(name)); },
  whenChanged(callback) {
    onChange = callback;
    addEventListener("popstate", () => callback());
  },
  /** Go elsewhere: a value of null takes a parameter away. */
  go(changes, { replace = false } = {}) {
    const parameters = this.parameters;
    for (const [name, value] of Object.entries(changes)) {
      parameters.delete(name);
      for (const one of [value].flat()) if (one !== null && one !== undefined) parameters.append(name, one);
    }
    this.visit(`?${parameters}`, { replace });
  },
  visit(address, { replace = false } = {}) {
    history[replace ? "replaceState" : "pushState"](null, "", address === "?" ? location.pathname : address);
    onChange();
  },
};
