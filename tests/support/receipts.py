"""Submits to a writer and returns its receipts."""

from __future__ import annotations

import asyncio

from leadcrm.ingest.submission import Receipt, Submission
from leadcrm.ingest.writer import Writer


async def submit_all(writer: Writer, *submissions: Submission) -> list[Receipt]:
    """Submit in one turn of the event loop and return the receipts; each submission must get one."""
    results = await asyncio.gather(*(writer.submit(one) for one in submissions))
    assert all(isinstance(result, Receipt) for result in results), results
    return [result for result in results if isinstance(result, Receipt)]
