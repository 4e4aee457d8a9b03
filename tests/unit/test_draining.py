"""The way out of the spool: in order, in batches of a bounded size, and past the rows that cannot go."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.states import Outcome, State
from leadcrm.errors import SpoolFull
from leadcrm.ingest import recovery as recovery_module
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.recovery import Recovery
from leadcrm.ingest.spool import drain as drain_module
from leadcrm.ingest.spool import salvage as salvage_module
from leadcrm.ingest.spool.drain import drain_batch
from leadcrm.ingest.spool.file import make_spool_file, unsalvaged_files
from leadcrm.ingest.spool.salvage import salvage_all
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.store.store import Known, Store
from leadcrm.ingest.submission import Submission
from leadcrm.ingest.writer import Writer
from tests.support.crm import MAX_DECODED_BYTES, submission
from tests.support.postgres import PostgresServer
from tests.support.receipts import submit_all
from tests.support.rows import Rows
from tests.support.stores import open_store
from tests.support.waiting import wait_until
from tests.support.writers import run_writer, spool_in


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """A store on a fresh database of each kind."""
    with closing(open_store(database)) as store:
        yield store


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    with closing(spool_in(tmp_path / "spool")) as spool:
        yield spool


def drain(spool: Spool, store: Store, **limits: int) -> list[int]:
    """Drain all that can go and return the sizes of the batches."""

    def batch() -> int:
        return drain_batch(spool, store, max_decoded_bytes=MAX_DECODED_BYTES, **limits)

    return list(iter(batch, 0))


def waiting(spool: Spool) -> list[str]:
    """Return the ids of all rows in the file of the spool."""
    return [row["id"] for row in Rows(f"sqlite:///{spool.path}").raw()]


def damage(spool: Spool, *rows: Submission) -> None:
    """Change a byte of the rows' bodies, as a disk does."""
    file = Rows(f"sqlite:///{spool.path}")
    for row in rows:
        assert row.body is not None
        file.execute("UPDATE leads_raw SET body = %s WHERE id = %s", b"?" + row.body[1:], file.as_id(row.id))


def test_the_oldest_rows_leave_first(spool: Spool, store: Store, rows: Rows) -> None:
    # What could not be normalized when it arrived is tried again.
    states = {3: "failed"}
    arrived = [submission(b'{"phone":"%d"}' % number, state=states.get(number)) for number in range(9)]
    for row in arrived[::2] + arrived[1::2]:
        spool.write([row])
    assert drain_batch(spool, store, max_decoded_bytes=MAX_DECODED_BYTES, max_rows=4) == 4
    assert [row["id"] for row in rows.raw()] == [row.id for row in arrived[:4]]
    assert drain(spool, store, max_rows=4) == [4, 1]
    assert [lead["phone"] for lead in rows.leads()] == [str(number) for number in range(9)]
    assert waiting(spool) == []


@pytest.mark.parametrize("is_compressed", [True, False])
@pytest.mark.parametrize(("size", "batches"), [(3000, [3, 3, 3, 1]), (20_000, [1] * 10)])
def test_a_batch_holds_no_more_bytes_than_one_may(
    spool: Spool,
    store: Store,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    is_compressed: bool,
    size: int,
    batches: list[int],
) -> None:
    monkeypatch.setattr(drain_module, "DRAIN_BYTES", 10_000)
    body = json.dumps({"description": "x" * size}).encode()
    if is_compressed:
        body = gzip.compress(body)
    for _ in range(10):
        headers = {"content-encoding": "gzip"} if is_compressed else {}
        spool.write([submission(body)._replace(headers=headers, state=State.STORED, error=None)])
    if not is_compressed:
        assert len(spool.oldest(10, 10_000)) == batches[0], "nor are more read at once"
    assert drain(spool, store) == batches
    assert [len(lead["description"]) for lead in rows.leads()] == [size] * 10


def test_a_row_that_the_disk_has_damaged_stays_and_its_neighbours_go(spool: Spool, store: Store, rows: Rows) -> None:
    kept = [submission(b'{"phone":"%d"}' % number, key=str(number)) for number in range(6)]
    spool.write(kept)
    damaged = [kept[0], kept[3], kept[4]]
    damage(spool, *damaged)
    assert sum(drain(spool, store, max_rows=2)) == 6
    assert [lead["phone"] for lead in rows.leads()] == ["1", "2", "5"]
    assert waiting(spool) == [row.id for row in damaged]
    refused = Rows(f"sqlite:///{spool.path}").select("SELECT DISTINCT refusal FROM leads_raw")
    assert refused == [{"refusal": "its body does not match its hash: it was damaged on disk"}]
    assert (spool.status().depth, spool.status().refused) == (3, 3)
    assert drain(spool, store) == [], "it is not tried for ever"


def test_rows_that_the_database_refuses_hold_up_no_row_behind_them(spool: Spool, store: Store, rows: Rows) -> None:
    rows.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON leads_raw WHEN NEW.target LIKE '%refused%' "
        "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
        if rows.is_sqlite
        else "ALTER TABLE leads_raw ADD CONSTRAINT refuse CHECK (target NOT LIKE '%refused%')"
    )
    refused = [submission(b"{}")._replace(target="/api/lead?refused") for _ in range(5)]
    behind = [submission(b"{}") for _ in range(2)]
    spool.write([*refused, *behind])
    assert sum(drain(spool, store, max_rows=2)) == 7
    assert [lead["id"] for lead in rows.leads()] == [row.id for row in behind]
    assert waiting(spool) == [row.id for row in refused]


class Meanwhile(Spool):
    """A spool beside which something happens between the look at its keys and the next write."""

    happens: Callable[[], object] | None = None

    def known(self, keys: Sequence[bytes]) -> Known:
        found = super().known(keys)
        if found and self.happens is not None:
            self.happens()
        return found


def test_a_repeat_whose_first_is_drained_while_it_is_spooled_still_leads_to_it(
    database: str, store: Store, rows: Rows, spool: Spool
) -> None:
    first = submission(b'{"email":"first"}', key="k")
    repeat, conflict = submission(b'{"email":"first"}', key="k"), submission(b'{"email":"other"}', key="k")
    spool.write([first])
    of_writer = Meanwhile(spool.data_dir, max_bytes=1 << 30, min_free_bytes=0)
    of_writer.happens = lambda: drain(spool, store)

    async def use(writer: Writer) -> None:
        answers = await submit_all(writer, repeat, conflict)
        assert [(answer.outcome, answer.lead_id) for answer in answers] == [
            (Outcome.DUPLICATE, first.id),
            (Outcome.CONFLICT, first.id),
        ]

    run_writer(use, store=open_store(database), spool=of_writer)
    drain(spool, store)
    assert [lead["id"] for lead in rows.leads()] == [first.id]
    assert {row["id"]: row["duplicate_of"] for row in rows.raw()} == {
        first.id: None, repeat.id: first.id, conflict.id: first.id,
    }  # fmt: skip


def test_what_is_written_to_a_spool_that_is_set_aside_meanwhile_is_written_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    successor = spool.data_dir / "spool-2.db"
    look_at_disk = os.statvfs

    def set_aside(folder: Path) -> os.statvfs_result:
        # As another process does that finds it damaged; the room is looked at right before the write.
        monkeypatch.setattr(os, "statvfs", look_at_disk)
        make_spool_file(successor)
        return look_at_disk(folder)

    row = submission(b"{}", key="k")
    monkeypatch.setattr(os, "statvfs", set_aside)
    spool.write([row])
    assert waiting(spool) == [row.id]
    assert spool.path == successor


def test_all_rows_of_a_large_spool_are_salvaged(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage_module, "SALVAGE_ROWS", 4)
    rows = [submission(b'{"phone":"%d"}' % number, key=str(number)) for number in range(11)]
    spool.write(rows)
    spool.mark_refused(rows[2].id, "the database refuses it")
    damage(spool, rows[5])
    # From the log their former images would be salvaged.
    Rows(f"sqlite:///{spool.path}").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    make_spool_file(spool.data_dir / "spool-2.db")
    salvage_all(spool)
    there = {row["id"]: row["refusal"] for row in Rows(f"sqlite:///{spool.path}").raw()}
    assert spool.path.name == "spool-2.db"
    assert there == {row.id: None for row in rows if row is not rows[5]} | {rows[2].id: "the database refuses it"}
    said = (spool.data_dir / "spool.db.salvaged").read_text()
    assert "10 rows were salvaged" in said
    assert rows[5].id in said


def test_a_whole_copy_of_a_row_is_salvaged_though_another_copy_is_damaged(spool: Spool) -> None:
    row, neighbour = submission(b'{"phone":"in the file"}'), submission(b"{}")
    spool.write([row, neighbour])
    Rows(f"sqlite:///{spool.path}").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # The log then holds the page of both rows once more.
    spool.mark_refused(neighbour.id, "the database refuses it")
    file = spool.path.read_bytes()
    assert b"in the file" in file
    with spool.path.open("r+b") as damaged:
        damaged.seek(file.index(b"in the file"))
        damaged.write(b"on")
    make_spool_file(spool.data_dir / "spool-2.db")
    salvage_all(spool)
    assert waiting(spool) == [row.id, neighbour.id]
    assert "2 rows were salvaged" in (spool.data_dir / "spool.db.salvaged").read_text()
    assert spool.oldest(10, 1 << 20)[0].body == row.body


def test_a_salvage_that_a_full_spool_cuts_short_is_done_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage_module, "SALVAGE_ROWS", 4)
    rows = [submission(b'"%s"' % (b"x" * 9000)) for _ in range(11)]
    spool.write(rows)
    make_spool_file(spool.data_dir / "spool-2.db")
    with closing(Spool(spool.data_dir, max_bytes=90_000, min_free_bytes=0)) as small, pytest.raises(SpoolFull):
        salvage_all(small)
    assert unsalvaged_files(spool.data_dir) == [spool.data_dir / "spool.db"]
    salvage_all(spool)
    assert waiting(spool) == [row.id for row in rows]
    assert unsalvaged_files(spool.data_dir) == []


def test_a_database_that_is_too_slow_for_a_batch_is_drained_in_smaller_ones(
    postgres: PostgresServer, whole_database: str, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "DRAIN_ROWS", 8)
    rows = [submission(b'{"phone":"%d"}' % number) for number in range(12)]
    spool.write(rows)
    open_store(whole_database).close()
    slow = (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$"
    )
    postgres.execute(slow, url=whole_database)
    postgres.execute(
        "CREATE TRIGGER slow BEFORE INSERT ON leads_raw FOR EACH ROW EXECUTE FUNCTION slow()", url=whole_database
    )
    writer = Writer(None, lambda: None, QueueBudget(1))
    recovery = Recovery(
        writer,
        Spool(spool.data_dir, max_bytes=1 << 30, min_free_bytes=0),
        lambda: open_store(whole_database, timeout_s=0.6),
        lambda _: 0,
        max_decoded_bytes=MAX_DECODED_BYTES,
    )
    recovery.start()
    try:
        wait_until(lambda: not waiting(spool), timeout_s=20, what="the spool to drain")
    finally:
        recovery.stop()
    assert [row["id"] for row in Rows(whole_database).raw()] == [row.id for row in rows]
