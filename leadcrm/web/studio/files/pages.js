// Rows that are fetched page by page. A late answer to an earlier question is dropped.

const PAGE_ROWS = 100;

export class Pages {
	/** `ask` takes parameters and an abort signal, and returns a page's items and the next page's cursor. */
	constructor(rows, ask) {
		Object.assign(this, { rows, ask, filter: [], next: null, searched: null, loading: null });
	}

	get isLoading() {
		return this.loading !== null;
	}

	/** Load the first page of a filter, and return whether no later load has replaced this one. */
	async load(filter) {
		this.loading?.abort();
		const loading = new AbortController();
		// A copy tells a late answer of an earlier load.
		Object.assign(this, { loading, filter: [...filter], next: null });
		try {
			const page = await this.ask([...filter, ["limit", PAGE_ROWS]], loading.signal);
			if (this.loading !== loading) return false;
			this.next = page.next;
			this.searched = page.searched;
			this.rows.replace(page.items, page.next !== null);
			return true;
		} catch (error) {
			if (error.name === "AbortError") return false;
			throw error;
		} finally {
			if (this.loading === loading) this.loading = null;
		}
	}

	/** Load the next page, and return whether there was one that still belongs to the rows. */
	async loadMore() {
		const { filter, next } = this;
		if (!next) return false;
		const page = await this.ask([...filter, ["limit", PAGE_ROWS], ["cursor", next]]);
		if (this.filter !== filter) return false;
		this.next = page.next;
		this.searched = page.searched;
		this.rows.append(page.items, page.next !== null);
		return true;
	}
}
