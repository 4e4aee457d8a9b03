"""PostgreSQL's rare errors in the middle of a batch: tried again, waited out or the row's own; no lead is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leadcrm.database.hints import hint_for
from leadcrm.database.migrations import migrate
from leadcrm.database.states import Outcome
from leadcrm.errors import StoreUnavailable
from leadcrm.ingest.driving import block
from leadcrm.ingest.spool.drain import drain_batch
from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.writer import Writer
from tests.support.crm import MAX_DECODED_BYTES, submission, url_of
from tests.support.postgres import PostgresServer
from tests.support.receipts import submit_all
from tests.support.rows import Rows
from tests.support.stores import open_store, store_on
from tests.support.writers import run_writer, spool_in

PASSING = ("40001", "40P01")
"""A rival was in the way, and nothing was written."""

OF_THE_DATABASE = ("25006", "53100", "57014", "XX000")

OF_A_ROW = ("22001", "23514", "P0001")


POISON, HEALTHY = b'{"email":"poison"}', b'{"email":"healthy"}'


class Errors:
    """Errors that PostgreSQL raises when a row is inserted into a table."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rows = Rows(url)

    def raise_on(self, table: str, sqlstate: str, *, times: int = 1_000_000) -> None:
        """Let the next inserts of poison fail."""
        is_poison = "NEW.email = 'poison'" if table == "leads" else f"NEW.body = '{POISON.decode()}'"
        self.rows.execute("CREATE SEQUENCE raised")  # what it counts is not rolled back
        self.rows.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {is_poison} AND nextval('raised') <= {times} THEN "
            f"RAISE EXCEPTION 'raised by the test' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$"
        )
        self.rows.execute(f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()")

    def count(self) -> int:
        """Return how many inserts have met it."""
        (found,) = self.rows.select("SELECT last_value, is_called FROM raised")
        return int(found["last_value"]) if found["is_called"] else 0

    def end(self) -> None:
        """Let every insert through again."""
        self.rows.execute("DROP FUNCTION fail CASCADE")
        self.rows.execute("DROP SEQUENCE raised")


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database."""
    url = postgres.create_database()
    migrate(url_of(url))
    yield url
    postgres.drop_database(url)


@pytest.fixture
def errors(url: str) -> Iterator[Errors]:
    """Errors to raise in it; its tables are empty."""
    errors = Errors(url)
    yield errors
    errors.end()
    errors.rows.execute("TRUNCATE leads_raw, leads_ledger CASCADE")


@pytest.mark.parametrize("sqlstate", PASSING)
@pytest.mark.parametrize("has_twins", [False, True], ids=["one statement", "several statements"])
def test_a_rival_that_was_in_the_way_costs_a_batch_nothing(
    errors: Errors, tmp_path: Path, sqlstate: str, has_twins: bool
) -> None:
    errors.raise_on("leads_raw", sqlstate, times=2)
    batch = [submission(POISON, key="k"), submission(HEALTHY, key="k" if has_twins else "other")]

    async def use(writer: Writer) -> None:
        assert {answer.stored for answer in await submit_all(writer, *batch)} == {"database"}
        assert writer.has_store
        (answer,) = await submit_all(writer, submission(HEALTHY))
        assert answer.stored == "database"

    run_writer(use, store=open_store(errors.url), spool=spool_in(tmp_path))
    assert errors.count() == 3
    assert len(errors.rows.leads()) == (2 if has_twins else 3)


@pytest.mark.parametrize("sqlstate", [*PASSING, *OF_THE_DATABASE])
def test_a_database_that_cannot_now_refuses_no_row(errors: Errors, tmp_path: Path, sqlstate: str) -> None:
    errors.raise_on("leads_raw", sqlstate)
    poison, healthy = submission(POISON, key="k"), submission(HEALTHY)

    async def use(writer: Writer) -> None:
        assert [answer.stored for answer in await submit_all(writer, poison, healthy)] == ["spool", "spool"]
        assert not writer.has_store

    run_writer(use, store=open_store(errors.url), spool=spool_in(tmp_path))
    assert 1 <= errors.count() <= 10, "it is not tried for ever"
    with closing(Spool(tmp_path, max_bytes=1 << 30, min_free_bytes=0)) as spool:
        with store_on(errors.url) as store, pytest.raises(StoreUnavailable) as caught:
            drain_batch(spool, store, max_decoded_bytes=MAX_DECODED_BYTES)
        assert (caught.value.sqlstate, caught.value.hint) == (sqlstate, hint_for(sqlstate, ""))
        assert (spool.status().depth, spool.status().refused) == (2, 0)
        errors.rows.execute("DROP TRIGGER fail ON leads_raw")
        with store_on(errors.url) as store:
            assert drain_batch(spool, store, max_decoded_bytes=MAX_DECODED_BYTES) == 2
    assert {(row["id"], row["state"]) for row in errors.rows.raw()} == {(poison.id, "stored"), (healthy.id, "stored")}
    assert len(errors.rows.leads()) == 2


def test_all_parts_of_a_refused_batch_share_one_time_limit(errors: Errors) -> None:
    errors.raise_on("leads_raw", "23514")
    errors.rows.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$"
    )
    # Triggers fire in the order of their names.
    errors.rows.execute("CREATE TRIGGER a_slow BEFORE INSERT ON leads_raw FOR EACH ROW EXECUTE FUNCTION slow()")
    batch = [submission(body) for body in (HEALTHY, HEALTHY, HEALTHY, POISON)]
    try:
        # Each statement has enough time for its rows; all statements together have not.
        with store_on(errors.url, timeout_s=1) as store, pytest.raises(StoreUnavailable, match=r"deadline|57014"):
            block(store.write(batch))
    finally:
        errors.rows.execute("DROP FUNCTION slow CASCADE")


@pytest.mark.parametrize("table", ["leads", "leads_raw"])
@pytest.mark.parametrize("sqlstate", OF_A_ROW)
def test_a_row_that_is_refused_is_kept_and_hurts_no_neighbour(
    errors: Errors, tmp_path: Path, sqlstate: str, table: str
) -> None:
    errors.raise_on(table, sqlstate)
    batch = [submission(body) for body in (HEALTHY, POISON, HEALTHY)]
    place = "database" if table == "leads" else "spool"

    async def use(writer: Writer) -> None:
        answers = await submit_all(writer, *batch)
        assert [answer.stored for answer in answers] == ["database", place, "database"]
        assert {answer.outcome for answer in answers} <= {Outcome.CREATED, Outcome.SPOOLED}
        assert writer.has_store

    run_writer(use, store=open_store(errors.url), spool=spool_in(tmp_path))
    assert [lead["id"] for lead in errors.rows.leads()] == [batch[0].id, batch[2].id]
    with closing(Spool(tmp_path, max_bytes=1 << 30, min_free_bytes=0)) as spool:
        assert spool.status().refused == (0 if table == "leads" else 1)
    if table == "leads":
        kept = errors.rows.raw_row(batch[1].id)
        assert (kept["state"], kept["body"]) == ("failed", POISON)
        assert sqlstate in kept["error"]
