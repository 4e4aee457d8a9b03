"""Erasing: somebody's data leave the database, this node's spool and its files; tombstones are left.

What is erased with a row: the first row of a repeat, since their bytes are the same; the repeats and conflicts that
point at it; the body of the batch in which it came, whose other leads stay; of a batch that was named by its id, all of
its leads. A conflict that was replayed is a lead of its own, perhaps of somebody else, and stays: the receipt names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from uuid import UUID

from pony.orm import select

from leadcrm.configuration.config import Config
from leadcrm.crm.events import NOTE
from leadcrm.crm.person_search import Found, Search
from leadcrm.crm.raw import SpoolReader
from leadcrm.crm.scrubbing import erase_files, scrub_log
from leadcrm.crm.tombstones import Counts, erase_rows, forget_answers, trace_of, wipe_spooled
from leadcrm.database.entities import Entities, SpoolEntities
from leadcrm.database.sessions import session
from leadcrm.errors import SpoolUnavailable
from leadcrm.ingest.opening import open_spool
from leadcrm.ingest.replay import unerased
from leadcrm.ingest.spool.spool import Spool

DRAIN_WAIT_S = 30.0
"""How long it waits for a drain under way, which has rows in its hands that are neither here nor there."""

_PAUSE_S = 0.05

_AT_ONCE = 200


@dataclass(slots=True)
class Receipt:
    """What was erased, or would be.

    Attributes:
        trace: When and by whom, as the tombstones have it.
        ids: Of the rows, in the database and in the spool.
        counts: What of the database was erased.
        spooled: Rows that waited in this node's spool.
        files: Files that were deleted.
        unknown: Ids that neither the database nor this node's spool knows.
        erased_before: Ids that were tombstones already.
        mentions: Leads and bodies that name the person but are others' too, and stay.
        stays: Leads of their own that point at what was erased.
        left: What is left elsewhere, in sentences.
    """

    trace: str
    ids: set[UUID] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    spooled: int = 0
    files: list[str] = field(default_factory=list)
    unknown: list[UUID] = field(default_factory=list)
    erased_before: list[UUID] = field(default_factory=list)
    mentions: set[UUID] = field(default_factory=set)
    stays: set[UUID] = field(default_factory=set)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Links:
    """The rows that are erased together, by id, with the hashes of their keys, and the leads that stay."""

    ids: set[UUID]
    keys: set[bytes]
    stays: set[UUID]


class Erasing:
    """One erasure: first it finds what is meant, so that a person can be asked, then it erases that."""

    def __init__(self, config: Config, entities: Entities, spool: SpoolReader) -> None:
        """Take where to look; nothing is read yet."""
        self._config = config
        self._entities = entities
        self._reader = spool
        self._found = Found()
        self._ids: list[UUID] = []
        self._search: Search | None = None

    def find_ids(self, ids: Iterable[UUID]) -> None:
        """Mean these rows, by any id that a sender was answered."""
        self._ids = list(dict.fromkeys(ids))

    def find_person(self, search: Search) -> None:
        """Mean everything of a person. It reads the whole database and this node's spool.

        Raises:
            StoreUnavailable: The database or the spool cannot be read.
        """
        self._search = search
        self._found = search.everywhere(self._entities, self._reader)

    def plan(self, actor: str) -> Receipt:
        """Return what would be erased now.

        Raises:
            StoreUnavailable: The database or the spool cannot be read.
        """
        receipt = Receipt(trace_of(actor))
        links = self._links(self._roots())
        with self._reader.bound() as spooled:
            spooled_ids = set() if spooled is None else _spooled(spooled, links)
            known = set() if spooled is None else _existing(spooled, self._ids)
        with session(self._entities):
            receipt.counts = _count(self._entities, links.ids)
        alive = _alive(self._entities, links.ids)
        here = known | _existing(self._entities, self._ids)
        receipt.ids = alive | spooled_ids
        receipt.spooled = len(spooled_ids)
        receipt.unknown = [id for id in self._ids if id not in here]
        receipt.erased_before = [id for id in self._ids if id in here and id not in receipt.ids]
        receipt.mentions = self._found.mentions - receipt.ids
        receipt.stays = links.stays - receipt.ids
        receipt.left = self._left()
        return receipt

    def erase(self, actor: str) -> Receipt:
        """Erase what was found, with what has come to it meanwhile. Durable on return.

        Raises:
            StoreUnavailable: The database cannot be changed now; run it again.
            SpoolUnavailable: The spool cannot be changed now; run it again.
        """
        receipt = self.plan(actor)
        spooled = self._erase_spooled(receipt.trace)
        links = self._links(self._roots() | spooled)
        receipt.ids |= _alive(self._entities, links.ids) | spooled
        receipt.spooled = len(spooled)
        receipt.counts = erase_rows(self._entities, links.ids, receipt.trace)
        if receipt.counts.leads:
            forget_answers(self._entities)
        named = self._search.person.is_named_in if self._search else None
        deleted, kept = erase_files(self._config, links.ids | spooled, named)
        receipt.files += deleted
        receipt.left += kept
        receipt.left += scrub_log(self._config.database.path)
        return receipt

    def _roots(self) -> set[UUID]:
        return set(self._ids) | self._found.own

    def _links(self, roots: set[UUID]) -> _Links:
        with session(self._entities):
            return _follow(self._entities, roots, set(self._ids))

    def _erase_spooled(self, trace: str) -> set[UUID]:
        """Make tombstones of the rows in this node's spool, and return their ids."""
        spool = open_spool(replace(self._config, spool=True))
        assert spool is not None
        if not spool.path.exists():
            return set()
        try:
            if spool.is_empty():
                spool.compact()
                return set()
            with _no_drain(spool), self._reader.bound() as entities:
                if self._search is not None:
                    self._found.add(self._search.spool(self._reader))
                links = self._links(self._roots())
                ids = set() if entities is None else _spooled(entities, links)
                if entities is not None:
                    wipe_spooled(entities, sorted(ids), trace)
            spool.compact()
            return ids
        finally:
            spool.close()

    def _left(self) -> list[str]:
        left = ["backups that were made before still have it: after a restore, erase again"]
        if self._config.database.path is None:
            left.append(
                "PostgreSQL's dead rows and index entries until their space is used again (VACUUM FULL writes the "
                "tables anew), and its archived log"
            )
            left.append("the spools of other nodes, where rows may wait: run it there too")
            left += [
                f"the table {table}, as the original service left it: drop it" for table in self._original_tables()
            ]
        else:
            left.append("copies of index entries that SQLite leaves in unused bytes: VACUUM, with the server stopped")
        left.append("receivers of sinks, which are told by lead.erased")
        left.append("this program's log and a proxy's, which hold addresses, keys and ids of requests")
        if self._search is not None:
            left.append("bodies that are encrypted, in base64 or in an image were not looked through")
        if unread := len(self._found.unread):
            left.append(f"{unread} bodies cannot be decoded and were not looked through")
        return left

    def _original_tables(self) -> list[str]:
        """Return the tables that `leadcrm migrate --from-original` has renamed, and nobody has dropped."""
        sql = (
            "tablename FROM pg_tables WHERE tablename IN ('original_leads', 'original_leads_raw') "
            "AND schemaname = COALESCE(CAST($schema AS text), current_schema()) ORDER BY tablename"
        )
        with session(self._entities):
            return list(self._entities.database.select(sql, {"schema": self._config.database.schema}, {}))


def _follow(entities: Entities, roots: set[UUID], named: set[UUID]) -> _Links:
    """Follow the links of rows; `named` are those that a person has named by id. The caller holds the session."""
    raw_lead = entities.raw_lead
    ids, bodies, stays = set(roots), set[UUID](), set[UUID]()
    keys: set[bytes] = set()
    todo = list(roots)
    while todo:
        some, todo = todo[:_AT_ONCE], todo[_AT_ONCE:]
        more: set[UUID] = set()
        rows = select((r.id, r.state, r.key_sha256, r.duplicate_of, r.part_of) for r in raw_lead if r.id in some)
        for id, state, key, first, batch in rows.without_distinct():
            if key is not None and state in ("stored", "failed"):
                keys.add(key)
            if batch is not None:
                bodies.add(batch)
            if state == "repeat" and first is not None:
                more.add(first)
            if state == "batch" and id in named:
                more |= set(select(r.id for r in raw_lead if r.part_of == id))
        for id, state in select((r.id, r.state) for r in raw_lead if r.duplicate_of in some).without_distinct():
            (more if state in ("repeat", "conflict") else stays).add(id)
        todo += more - ids
        ids |= more
    return _Links(ids | bodies, keys, stays - ids)


def _spooled(entities: SpoolEntities, links: _Links) -> set[UUID]:
    """Return the rows of the spool that are erased too: by id, by link, or by a key that they claim in vain."""
    with session(entities):
        alive = unerased(select(row for row in entities.raw_lead))
        rows = list(select((row.id, row.key_sha256, row.duplicate_of, row.part_of) for row in alive).without_distinct())
    found = {
        id
        for id, key, first, batch in rows
        if id in links.ids or first in links.ids or batch in links.ids or key in links.keys
    }
    batches = {batch for id, _, _, batch in rows if id in found}
    return found | {id for id, *_ in rows if id in batches}


def _existing(entities: SpoolEntities, ids: Iterable[UUID]) -> set[UUID]:
    raw_lead, wanted = entities.raw_lead, list(ids)
    found: set[UUID] = set()
    with session(entities):
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found |= set(select(r.id for r in raw_lead if r.id in some))
    return found


def _alive(entities: Entities, ids: Iterable[UUID]) -> set[UUID]:
    """Return the ids of rows that are no tombstones."""
    wanted = list(ids)
    found: set[UUID] = set()
    with session(entities):
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            rows = unerased(select(row for row in entities.raw_lead if row.id in some))
            found |= set(select(row.id for row in rows))
    return found


def _count(entities: Entities, ids: Iterable[UUID]) -> Counts:
    """Count what would be erased of the database. The caller holds the session."""
    counts, wanted = Counts(), list(ids)
    lead, change, delivery = entities.lead, entities.lead_event, entities.delivery
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        rows = unerased(select(row for row in entities.raw_lead if row.id in some)).count()
        leads = select(one for one in lead if one.raw.id in some).count()
        notes = select(e for e in change if e.lead_id in some and e.field == NOTE).count()
        changes = select(e for e in change if e.lead_id in some and e.field != NOTE).count()
        deliveries = select(d for d in delivery if d.lead_id in some).count()
        counts = counts.plus(Counts(rows, leads, notes, changes, deliveries))
    return counts


@contextmanager
def _no_drain(spool: Spool) -> Iterator[None]:
    """Hold off every drain of this node.

    Raises:
        SpoolUnavailable: One has been under way for `DRAIN_WAIT_S`.
    """
    ends_at = monotonic() + DRAIN_WAIT_S
    while True:
        with spool.drain_lock() as is_held:
            if is_held:
                yield
                return
        if monotonic() > ends_at:
            raise SpoolUnavailable("the spool is being drained", hint="run it again once `leadcrm spool status` is 0")
        sleep(_PAUSE_S)
