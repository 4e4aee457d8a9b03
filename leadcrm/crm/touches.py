"""How soon people first change or note a lead after its arrival: as SQL, and packed for the leads of a day."""

from __future__ import annotations

import struct
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from leadcrm.crm.correction import KINDS
from leadcrm.crm.dialects import dialect_of
from leadcrm.crm.events import PROGRAM_NAMES
from leadcrm.database.entities import Entities, quoted_table

MAX_SECONDS = 2**32 - 1

_COUNT = struct.Struct("<I")


class OutcomeCounts(NamedTuple):
    """What became of some leads: their number by value and status, and the seconds until each was touched, by value."""

    leads: Counter[tuple[str | None, str]]
    touches: dict[str | None, array[int]]

    @classmethod
    def none(cls) -> OutcomeCounts:
        """Return those of no lead."""
        return cls(Counter(), defaultdict(lambda: array("q")))


def touch_sql(entities: Entities) -> str:
    """Return the expression for the whole seconds until somebody touched `lead`; null where nobody has."""
    people = " AND ".join(f"event.actor NOT LIKE '{name} v%'" for name in PROGRAM_NAMES)
    # A lead that was made of a correction came so: nobody has called the person yet.
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    first = (
        f"(SELECT min(event.at) FROM {quoted_table(entities.lead_event)} event "  # noqa: S608 - names of ours
        f"WHERE event.lead_id = lead.id AND {people} AND event.field NOT IN ({kinds}))"
    )
    return dialect_of(entities).seconds_between("lead.created_at", first)


def pack_touches(seconds: Sequence[int | None]) -> bytes:
    """Return the seconds of some leads, packed. Clocks of two nodes may differ: nobody is touched before it arrives."""
    touched = bytes(each is not None for each in seconds)
    known = [min(max(each, 0), MAX_SECONDS) for each in seconds if each is not None]
    return zlib.compress(_COUNT.pack(len(touched)) + touched + struct.pack(f"<{len(known)}I", *known), level=1)


def unpack_touches(packed: bytes) -> tuple[bytes, Sequence[int]]:
    """Return a one for each lead that was touched and a nought for each other, and the seconds of the former."""
    data = zlib.decompress(packed)
    end = _COUNT.size + _COUNT.unpack_from(data)[0]
    return data[_COUNT.size : end], struct.unpack_from(f"<{(len(data) - end) // 4}I", data, end)
