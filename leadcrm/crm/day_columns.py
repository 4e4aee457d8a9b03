"""The columns of a day's leads that people filter and count by, packed: filtered counts need no look at the leads.

Of each column there are its values and, lead by lead, the number of the lead's value. A million leads take some ten
megabytes so, and a second or less to count by every column, where the database takes ten times as long.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate, compress, pairwise
from string import ascii_uppercase
from struct import Struct
from typing import Any, NamedTuple

import orjson
from psycopg2.extensions import encodings

from leadcrm.crm.click_ids import CHARS, pack_click_ids
from leadcrm.crm.dialects import Unit, chars_of, dialect_of
from leadcrm.crm.leads import FILTER_COLUMNS, LeadFilter
from leadcrm.crm.tallies import Tally
from leadcrm.crm.touches import pack_touches, touch_sql
from leadcrm.crm.value_counts import DIMENSIONS, LONGEST_VALUE, Counts, gathered_sql
from leadcrm.database.entities import Entities, quoted_table
from leadcrm.database.postgres import COMPLETE_ENCODINGS

COLUMNS = tuple(column for column in FILTER_COLUMNS if column != "click_id")

MAX_LEADS = 65_536
"""Of a day: more are counted by the database. Their values have numbers of two bytes."""

MAX_REMEMBERED_BYTES = 8_192
"""Of the values of a column, which are remembered for the next day: those of more are hardly the same then."""

MANY = 50
"""So many wanted leads of a day are worth looking at all of it: they fill a page."""

FEW = 8
"""Where fewer than one of so many leads of a day are let through, those are looked at one by one."""

_NAMES = ("step", "is_test", *COLUMNS)

_LENGTHS = Struct(f"<{len(_NAMES)}I")
"""Of the packed columns, before them."""

_Matches = Callable[[str | None], bool]


class PackedDay(NamedTuple):
    """What is packed of a day's leads, nothing where they are too many or their values too long.

    Attributes:
        columns: What filters need.
        click_ids: The checksums of their click ids.
        touches: How soon people touched each, in the order of the columns.
    """

    columns: bytes | None = None
    click_ids: bytes | None = None
    touches: bytes | None = None


def pack_day(entities: Entities, day: date) -> PackedDay:
    """Pack a day's leads. The caller holds the session."""
    start = datetime.combine(day, time())
    period = LeadFilter(since=start, until=start + timedelta(days=1), tests="include")
    dialect = dialect_of(entities)
    texts = (f"substr(CAST({column} AS text), 1, {LONGEST_VALUE}) AS {column}" for column in COLUMNS)
    columns = f"{dialect.truncate('lead.created_at', 'quarter')} AS step, is_test, {', '.join(texts)}, "
    # All at once: on PostgreSQL another statement might see other leads.
    columns += f"substr(click_id, 1, {CHARS}) AS click_id, {touch_sql(entities)} AS touch"
    sql, values = gathered_sql(dialect, quoted_table(entities.lead), columns, period)
    rows = entities.database.select(
        f"* FROM ({sql} ORDER BY created_at, id LIMIT {MAX_LEADS + 1}) AS listed", values, {}
    )
    if len(rows) > MAX_LEADS:
        return PackedDay()
    *filtered, click_ids, touches = zip(*rows, strict=True) if rows else ((), ())
    pieces = []
    for number, column in enumerate(filtered):
        # The first two are times and booleans, in the types of the database.
        texts_of_leads = [_text(value) for value in column] if number < 2 else column
        # Mostly the same ones as on other days, so that in one order they are read once. Steps come in that of time.
        listed = sorted(set(texts_of_leads), key=lambda value: (value is not None, value or ""))
        known = {value: place for place, value in enumerate(listed)}
        if any(value is not None and len(value) >= LONGEST_VALUE for value in known):
            return PackedDay()
        numbers = array(_code(len(known)), map(known.__getitem__, texts_of_leads))
        head = orjson.dumps(list(known))
        pieces.append(
            zlib.compress(len(head).to_bytes(4, "little") + head + _little_endian(numbers).tobytes(), level=1)
        )
    lengths = b"".join(len(piece).to_bytes(4, "little") for piece in pieces)
    return PackedDay(lengths + b"".join(pieces), pack_click_ids(click_ids), pack_touches(touches))


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, (bool, int)) else str(value)


def _code(values: int) -> str:
    return "B" if values <= 256 else "H"


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class ColumnFilter:
    """The part of a filter that these columns answer."""

    def __init__(self, parts: Sequence[tuple[str, _Matches]]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, entities: Entities, lead_filter: LeadFilter) -> ColumnFilter | None:
        """Return what selects as this filter does within whole days; None where other columns are needed.

        The caller holds the session.
        """
        columns = {column for column, _ in (*lead_filter.values, *lead_filter.contains)}
        of_columns = LeadFilter(values=lead_filter.values, contains=lead_filter.contains, tests=lead_filter.tests)
        if replace(lead_filter, since=None, until=None) != of_columns or not columns <= set(COLUMNS):
            return None
        # Databases differ in the case of other letters, and cut values equal no longer ones.
        if not all(text.isascii() for _, texts in lead_filter.contains for text in texts):
            return None
        parts = [(column, _is_one_of(texts)) for column, texts in lead_filter.values]
        if lead_filter.contains:
            cases = _cases(entities)
            parts += [(column, _contains(texts, cases)) for column, texts in lead_filter.contains]
        # The last, for it lets most through. Without any filter it is what tells how many leads there are.
        tests = {"include": ("0", "1"), "only": ("1",)}.get(lead_filter.tests or "", ("0",))
        parts.append(("is_test", _is_one_of(tests)))
        return cls(parts)

    def add(self, days: Iterable[bytes], total: Counts, unit: Unit) -> None:
        """Add the leads of days that it lets through to other counts, by every name of these and units of time."""
        tallies = {name: Tally(counter) for name, counter in total.items() if name != "step"}
        for packed in days:
            day = Day(packed)
            known: dict[str, str | None] = {}
            chosen = self.choose(day, known)
            leads = chosen.count(1)
            if not leads:
                continue
            places = list(compress(range(len(chosen)), chosen)) if leads * FEW < len(chosen) else None
            _add_steps(*day.unpack("step"), chosen, unit, total["step"])
            for name, tally in tallies.items():
                values, numbers = ((known[name],), b"") if name in known else day.unpack(name)
                if len(values) == 1:
                    total[name][values[0]] += leads
                elif places is not None:
                    total[name].update([values[numbers[place]] for place in places])
                else:
                    tally.add(values, numbers, chosen)
        for tally in tallies.values():
            tally.finish()

    def count(self, packed: bytes) -> int:
        """Return the number of a day's leads that it lets through."""
        return self.choose(Day(packed)).count(1)

    def find(self, packed: bytes, start: datetime) -> Iterator[tuple[datetime, datetime, int, int]]:
        """Yield when leads of a day arrived that it lets through: from, until, their number, and that of all then.

        These are quarters of an hour, or the day, whose start the caller knows, where that has many.
        """
        day = Day(packed)
        chosen = self.choose(day)
        if (leads := chosen.count(1)) >= MANY:
            yield start, start + timedelta(days=1), leads, len(chosen)
        elif leads:
            steps, numbers = day.unpack("step")
            for number, hits in Counter(compress(numbers, chosen)).items():
                quarter = datetime.fromisoformat(str(steps[number]))
                yield quarter, quarter + timedelta(minutes=15), hits, numbers.count(number)

    def choose(self, day: Day, known: dict[str, str | None] | None = None) -> bytes:
        """Return a one for each lead that it lets through and a nought for each other; nothing where there is none.

        Args:
            day: The day.
            known: Takes each column of which all those leads have one value.
        """
        chosen = -1
        leads = 0
        for name, matches in self._parts:
            values, numbers = day.unpack(name)
            hits = bytes(map(matches, values))
            if 1 not in hits:
                return b""
            leads = len(numbers)
            if known is not None and hits.count(1) == 1:
                known[name] = values[hits.index(1)]
            if 0 in hits:
                chosen &= int.from_bytes(translate(numbers, hits), "little")
        return b"\1" * leads if chosen == -1 else chosen.to_bytes(leads, "little")


def both(chosen: bytes, others: bytes) -> bytes:
    """Return a one for each lead that has one in both."""
    return (int.from_bytes(chosen, "little") & int.from_bytes(others, "little")).to_bytes(len(chosen), "little")


def translate(numbers: bytes | array[int], hits: bytes) -> bytes:
    """Return for each lead the byte of `hits` at its number."""
    if isinstance(numbers, bytes):
        return numbers.translate(hits.ljust(256))
    # By either byte of the numbers: one by one it takes twenty times as long.
    halves = numbers.tobytes()
    lows, highs = (halves[::2], halves[1::2]) if sys.byteorder == "little" else (halves[1::2], halves[::2])
    chosen = 0
    for high, start in enumerate(range(0, len(hits), 256)):
        is_high = bytes(number == high for number in range(256))
        low = int.from_bytes(lows.translate(hits[start : start + 256].ljust(256)), "little")
        chosen |= low & int.from_bytes(highs.translate(is_high), "little")
    return chosen.to_bytes(len(lows), "little")


class Day:
    """The packed columns of a day, each unpacked when it is asked for."""

    def __init__(self, packed: bytes) -> None:
        # Of a day without leads there is nothing.
        lengths = _LENGTHS.unpack_from(packed) if packed else ()
        self._packed = packed
        self._pieces = dict(zip(_NAMES, pairwise(accumulate(lengths, initial=_LENGTHS.size)), strict=False))

    def unpack(self, name: str) -> tuple[tuple[str | None, ...], bytes | array[int]]:
        """Return the values of a column, and for each lead the number of its value."""
        if not self._packed:
            return (), b""
        begin, end = self._pieces[name]
        data = zlib.decompress(self._packed[begin:end])
        head = 4 + int.from_bytes(data[:4], "little")
        values = _read_values(data[4:head]) if head <= MAX_REMEMBERED_BYTES else tuple(orjson.loads(data[4:head]))
        numbers = data[head:]
        return values, numbers if _code(len(values)) == "B" else _little_endian(array("H", numbers))


@lru_cache(maxsize=64)
def _read_values(data: bytes) -> tuple[str | None, ...]:
    return tuple(orjson.loads(data))


def _add_steps(
    steps: Sequence[str | None], numbers: bytes | array[int], chosen: bytes, unit: Unit, counter: Counter[str | None]
) -> None:
    """Add the chosen leads of each unit of time. The leads are in the order of time, and so are the steps."""
    chars = chars_of(unit)
    # The first of each unit is what remains.
    firsts = {(step or "")[:chars]: number for number, step in reversed([*enumerate(steps)])}
    begins = [*map(numbers.index, reversed(firsts.values()))]
    counts = [chosen.count(1, begin, end) for begin, end in pairwise((*begins, len(chosen)))]
    # Not as a counter does it, one by one: of a year there are 35,000 quarters. No other day has these.
    dict.update(counter, zip(reversed(firsts), counts, strict=True))


def _is_one_of(texts: Sequence[str]) -> _Matches:
    wanted: set[str | None] = set(texts)
    if "" in wanted:
        wanted.add(None)
    return wanted.__contains__


def _cases(entities: Entities) -> dict[int, str]:
    """Return which letters the database makes ASCII ones when it folds case, for `str.translate`.

    In the locales of PostgreSQL the Kelvin sign is a k and the dotted capital I an i, and to Turkish ones I is no i.
    """
    codec = _codec_of(entities)
    # A letter that the database lacks would fail the statement.
    letters = f"{ascii_uppercase}\u0130\u212a".encode(codec, "ignore").decode(codec)
    # A cast, since a value alone has no type to PostgreSQL.
    (folded,) = entities.database.select("lower(CAST($letters AS text))", {"letters": "\n".join(letters)}, {})
    return {ord(letter): lower for letter, lower in zip(letters, folded.split("\n"), strict=True)}


def _codec_of(entities: Entities) -> str:
    """Return the codec of the letters that a database holds."""
    if entities.database.provider.dialect == "SQLite":
        return "utf-8"
    (encoding,) = entities.database.select("current_setting('server_encoding')")
    return "utf-8" if encoding in COMPLETE_ENCODINGS else encodings.get(encoding, "ascii")


def _contains(texts: Sequence[str], cases: dict[int, str]) -> _Matches:
    parts = [text.translate(cases) for text in texts]

    # Most values come again on other days.
    @lru_cache(maxsize=MAX_LEADS)
    def matches(value: str | None) -> bool:
        if value is None:
            return False
        folded = value.translate(cases)
        return any(part in folded for part in parts)

    return matches


assert set(DIMENSIONS) <= set(_NAMES)
