"""What a writer tells the senders of submissions."""

from __future__ import annotations

import asyncio

from leadcrm.ingest.submission import Receipt, Submission
from leadcrm.ingest.writer import Writer


async def told(writer: Writer, *submissions: Submission) -> list[Receipt]:
    """Submit them in one turn of the loop and return their receipts: every one must get one."""
    results = await asyncio.gather(*(writer.submit(one) for one in submissions))
    assert all(isinstance(result, Receipt) for result in results), results
    return [result for result in results if isinstance(result, Receipt)]
