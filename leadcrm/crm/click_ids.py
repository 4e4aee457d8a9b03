"""The click ids of a day's leads, packed: which days may have a lead with one, without a look at the leads.

No index has click ids: an entry at a random place for every lead would cost each of them more than it helps the few
that are looked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

CHARS = 256
"""The characters of a click id that count."""

_BYTES = 4
"""Of the checksum of each: among 60,000 leads a day, one of 70,000 lookups meets a day in vain."""


def pack_click_ids(click_ids: Iterable[str | None]) -> bytes:
    """Return the checksums of click ids, each once, in one order; none is an empty one."""
    return b"".join(sorted({_checksum(click_id or "") for click_id in click_ids}))


def may_have(packed: bytes, click_ids: Iterable[str]) -> bool:
    """Say whether one of these may be among the packed ones; where it says no, none is."""
    return any(_has(packed, _checksum(click_id)) for click_id in click_ids)


def ids_in(packed: bytes) -> int:
    """Return how many there are."""
    return len(packed) // _BYTES


def _has(packed: bytes, checksum: bytes) -> bool:
    place = packed.find(checksum)
    while place % _BYTES > 0 and place >= 0:
        place = packed.find(checksum, place + 1)
    return place >= 0


def _checksum(click_id: str) -> bytes:
    return zlib.crc32(click_id[:CHARS].encode("utf-8", "surrogatepass")).to_bytes(_BYTES, "little")
