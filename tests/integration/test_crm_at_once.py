"""The CRM when things meet: changes of one lead, all or none of many, downloads that end early, and its limits."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from uuid import UUID

import pytest

from leadcrm.crm import looking, search
from leadcrm.crm.leads import LeadFilter
from leadcrm.database.sessions import bind
from leadcrm.web.crm.stream import MAX_EVENTS
from leadcrm.web.crm.watch import MAX_WAITING
from tests.conftest import new_database, server_starter
from tests.support.client import Answer
from tests.support.crm import keep, run_command, submission, url_of
from tests.support.crm_client import BEARER, ENVIRONMENT, Crm
from tests.support.download import Download
from tests.support.waiting import wait_until

MOST_EXPORTS = 2
READERS = 2

LARGE_LEADS = 600
EXPORT = "/api/leads/export?format=ndjson&marker=large"
LAST_CHUNK = b"0\r\n\r\n"

REASON = "why the database refuses"


def lead(**fields: str) -> bytes:
    return json.dumps(fields).encode()


LARGE = [submission(lead(marker="large", description="x" * 20_000)) for _ in range(LARGE_LEADS)]
"""More than the sockets between server and client hold."""


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    """A server for all tests of the module."""
    for database in new_database(request.param, request, tmp_path_factory.mktemp("database")):
        keep(database, LARGE)
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=ENVIRONMENT), database)


def post(crm: Crm, **fields: str) -> str:
    return str(crm.server.client.post_lead(fields).json()["lead_id"])


@contextmanager
def refusing(crm: Crm, email: str) -> Iterator[None]:
    """Let the database refuse every change of the leads with this email, within a `with`."""
    if crm.rows.is_sqlite:
        crm.rows.execute(
            f"CREATE TRIGGER refuse BEFORE UPDATE ON leads WHEN OLD.email = '{email}' BEGIN"
            f" SELECT RAISE(ABORT, '{REASON}'); END"
        )
        undo = ["DROP TRIGGER refuse"]
    else:
        crm.rows.execute(
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE '{REASON}'; END $$"
        )
        crm.rows.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON leads FOR EACH ROW"
            f" WHEN (OLD.email = '{email}') EXECUTE FUNCTION refuse()"
        )
        undo = ["DROP TRIGGER refuse ON leads", "DROP FUNCTION refuse()"]
    try:
        yield
    finally:
        for statement in undo:
            crm.rows.execute(statement)


def assert_refused(answer: Answer) -> None:
    assert (answer.status, answer.json()) == (
        422,
        {
            "ok": False,
            "error": "refused",
            "message": "A constraint or trigger of the database does not allow the change.",
        },
    )


def assert_refused_by_the_command(crm: Crm, lead_id: str) -> None:
    done = run_command(crm.server.data_dir, crm.database, "leads", "set", lead_id, "--status", "won")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "leadcrm: the database refuses the change: one of its constraints or triggers does not allow it"
        " (list the constraints and triggers of leads and lead_events)\n"
    )


@pytest.mark.parametrize("position", [0, 1, 2])
def test_where_one_lead_of_many_cannot_be_changed_none_is(crm: Crm, position: int) -> None:
    ids = [post(crm, email="refused" if number == position else "taken") for number in range(3)]
    with refusing(crm, "refused"):
        assert_refused(crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "won", "assignedTo": "anna"}))
    for lead_id in ids:
        seen = crm.get(f"/api/leads/{lead_id}")
        assert (seen["lead"]["status"], seen["lead"]["assignedTo"], seen["events"]) == ("new", None, [])
        assert seen["lead"]["updatedAt"] == seen["lead"]["createdAt"]
    assert crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "won"}).json()["changed"] == 3


def test_a_change_that_fails_leaves_no_event_and_not_half_of_it(crm: Crm) -> None:
    lead_id = post(crm, email="refused")
    with refusing(crm, "refused"):
        assert_refused(crm.ask("PATCH", f"/api/leads/{lead_id}", {"status": "won", "assignedTo": "anna"}))
        log_lines = [line for line in crm.server.log_records() if line["level"] in ("warn", "error")]
        assert_refused_by_the_command(crm, lead_id)
    assert log_lines
    assert not any("stack" in line or REASON in json.dumps(line) for line in log_lines)
    seen = crm.get(f"/api/leads/{lead_id}")
    assert (seen["lead"]["status"], seen["events"]) == ("new", [])


def test_of_two_changes_of_one_version_at_once_one_is_refused(crm: Crm) -> None:
    target = f"/api/leads/{post(crm, email='both')}"
    tag = crm.ask("GET", target).header("ETag") or ""
    answers: list[Answer] = []

    def change(status: str) -> None:
        answers.append(crm.ask("PATCH", target, {"status": status}, If_Match=tag))

    def both_readers_wait() -> bool:
        try:
            crm.server.client.get("/api/leads?limit=1", headers=[BEARER], timeout_s=0.3)
        except TimeoutError:
            return True
        return False

    rivals = [threading.Thread(target=change, args=(status,)) for status in ("won", "lost")]
    with crm.rows.writes_blocked("leads"):
        for rival in rivals:
            rival.start()
        wait_until(both_readers_wait)
    for rival in rivals:
        rival.join()
    assert sorted(answer.status for answer in answers) == [200, 412]
    (done,) = [answer.json()["status"] for answer in answers if answer.status == 200]
    seen = crm.get(target)
    assert seen["lead"]["status"] == done
    assert [(event["from"], event["to"]) for event in seen["events"]] == [("new", done)]


def test_a_search_loses_no_lead_of_one_moment_between_its_pages(crm: Crm) -> None:
    moment = datetime.now(timezone.utc)
    sent = [submission(lead(email=f"moment{n}@example.com", phone="1"), received_at=moment) for n in range(7)]
    keep(crm.database, sent)
    page = crm.get("/api/leads", q="moment", limit=3)
    found = [page]
    while page["next"]:
        page = crm.get("/api/leads", q="moment", limit=3, cursor=page["next"])
        found.append(page)
    ids = sorted((row.id for row in sent), reverse=True)
    assert [[entry["id"] for entry in page["leads"]] for page in found] == [ids[:3], ids[3:6], ids[6:]]


@pytest.mark.parametrize("max_gathered", [2, 5_000], ids=["many matches", "few matches"])
def test_a_search_of_either_kind_has_whole_pages(
    database: str, monkeypatch: pytest.MonkeyPatch, max_gathered: int
) -> None:
    monkeypatch.setattr(search, "MAX_GATHERED", max_gathered)
    monkeypatch.setattr(search, "SCANNED_ROWS", 4)
    moment = datetime(2024, 1, 15, 12, tzinfo=timezone.utc)
    # Four at each moment, and every third matches by a part of its email alone.
    sent = [
        submission(
            lead(email=f"{'q' if number % 3 else 'xq'}{number}@example.com"),
            received_at=moment + timedelta(seconds=number // 4),
        )
        for number in range(24)
    ]
    keep(database, sent)
    # A lead of the same moment as the last one scanned is scanned too.
    oldest = sent[-1 - search.SCANNED_ROWS].received_at
    wanted = [row for number, row in enumerate(sent) if number % 3 or row.received_at >= oldest]
    entities = bind(url_of(database))
    found, after = [], None
    while True:
        page = search.list_leads(entities, LeadFilter(q="Q"), limit=3, after=after)
        found.append([str(entry.id) for entry in page.leads])
        if (after := page.next) is None:
            break
    entities.database.disconnect()
    expected = [row.id for row in sorted(wanted, key=lambda row: (row.received_at, UUID(row.id)), reverse=True)]
    assert [lead_id for page_ids in found for lead_id in page_ids] == expected
    assert {len(page_ids) for page_ids in found[:-1]} == {3}


@pytest.mark.parametrize("few", [0, 20_000], ids=["walked", "sorted"])
def test_a_search_with_a_filter_looks_at_so_many_leads_a_page_and_misses_none(
    database: str, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(search, "MAX_GATHERED", 2)
    monkeypatch.setattr(search, "SCANNED_ROWS", 10)
    monkeypatch.setattr(search, "LOOKED_FOR_COMMON", 6)
    monkeypatch.setattr(looking, "LOOKED_AT_FIRST", 3)
    monkeypatch.setattr(looking, "FEW", few)
    moment = datetime(2024, 1, 15, 12, tzinfo=timezone.utc)
    emails = [f"{'q' if number % 3 else 'xq'}{number}@example.com" for number in range(40)]
    sent = [
        submission(
            lead(email=email, country="XX" if number % 10 in (4, 9) else "LV"),
            received_at=moment + timedelta(seconds=number),
        )
        for number, email in enumerate(emails)
    ]
    keep(database, sent)
    entities = bind(url_of(database))
    rare = LeadFilter(q="Q", values=(("country", ("XX",)),), since=datetime(2024, 1, 15))
    pages = [search.list_leads(entities, rare, limit=3)]
    while pages[-1].next is not None:
        pages.append(search.list_leads(entities, rare, limit=3, after=pages[-1].next))
    entities.database.disconnect()
    # A part of an older lead's email is not looked for.
    wanted = [email for number, email in enumerate(emails) if number % 10 in (4, 9) and (number % 3 or number >= 30)]
    assert [entry.email for page in pages for entry in page.leads] == wanted[::-1]
    assert (len(pages[0].leads) < 3) == (few == 0), "a page ends where it has looked at so many"


def test_a_whole_phone_that_many_longer_ones_begin_with_is_found_as_it_is_written(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_GATHERED", 2)
    monkeypatch.setattr(search, "SCANNED_ROWS", 3)
    phones = ["26 123 456", *(f"+3712612345{number}" for number in range(60, 66)), *("1",) * 4]
    moment = datetime(2024, 1, 15, 12, tzinfo=timezone.utc)
    keep(
        database,
        [
            submission(lead(phone=phone), received_at=moment + timedelta(seconds=number))
            for number, phone in enumerate(phones)
        ],
    )
    entities = bind(url_of(database))
    page = search.list_leads(entities, LeadFilter(q="+37126123456"), limit=50)
    entities.database.disconnect()
    assert [entry.phone for entry in page.leads][-1] == "26 123 456"


@pytest.mark.parametrize("q", ["37112", "+37112", "0037112"])
def test_a_beginning_that_many_phones_have_finds_old_leads_too(
    database: str, monkeypatch: pytest.MonkeyPatch, q: str
) -> None:
    monkeypatch.setattr(search, "MAX_GATHERED", 2)
    monkeypatch.setattr(search, "SCANNED_ROWS", 4)
    moment = datetime(2024, 1, 15, 12, tzinfo=timezone.utc)
    phones = [f"{('+37112', '37112', '+3719')[number % 3]}{number:05}" for number in range(12)]
    sent = [
        submission(lead(phone=phone, email=None), received_at=moment + timedelta(seconds=number))
        for number, phone in enumerate((*phones, "+371 1 2 999", "other 37-112 77"))
    ]
    keep(database, sent)
    entities = bind(url_of(database))
    pages = [search.list_leads(entities, LeadFilter(q=q), limit=3)]
    while pages[-1].next is not None:
        pages.append(search.list_leads(entities, LeadFilter(q=q), limit=3, after=pages[-1].next))
    entities.database.disconnect()
    found = [str(entry.phone) for page in pages for entry in page.leads]
    written = [] if q.startswith("00") else ["other 37-112 77", "+371 1 2 999"]
    assert found == [*written, *(phone for phone in reversed(phones) if "37112" in phone)]


def test_a_lead_that_was_stored_late_is_announced_and_each_lead_once(crm: Crm) -> None:
    with Download(crm, "/api/leads/stream") as stream:
        stream.read_until(b": listening\n")
        newest = post(crm)
        stream.read_until(newest.encode())
        late = submission(lead(), received_at=datetime.now(timezone.utc) - timedelta(days=2))
        keep(crm.database, [late])
        stream.read_until(late.id.encode())
        after = post(crm)
        stream.read_until(after.encode())
        stream.read_until(post(crm).encode())
        for announced in (newest, late.id, after):
            assert stream.received.count(b'"id":"%s"' % announced.encode()) == 1


def test_every_change_of_a_bulk_is_announced(crm: Crm) -> None:
    sent = [submission(lead(marker="announced")) for _ in range(MAX_EVENTS + 10)]
    keep(crm.database, sent)
    with Download(crm, "/api/leads/stream") as stream:
        stream.read_until(b": listening\n")
        ids = [row.id for row in sent]
        assert crm.ask("POST", "/api/leads/bulk", {"ids": ids, "status": "won"}).json()["changed"] == len(ids)
        stream.read_until(post(crm).encode())
        events = [json.loads(data) for data in re.findall(rb"event: lead.changed\ndata: (.*)\n", stream.received)]
    assert sorted(event["leadId"] for event in events) == sorted(ids)
    assert {event["change"]["to"] for event in events} == {event["lead"]["status"] for event in events} == {"won"}


def test_a_stream_too_many_gets_503_and_one_that_left_makes_room(crm: Crm) -> None:
    with ExitStack() as stack:
        # The server may still hold places of the streams that other tests left.
        streams = [stack.enter_context(wait_until(partial(begun_stream, crm))) for _ in range(MAX_WAITING)]
        assert crm.ask("GET", f"/api/feed?after={newest_event(crm)}&wait=5").status == 503
        streams[0].abort()

        def is_heard() -> bool:
            with Download(crm, "/api/leads/stream") as another:
                return another.hears(b": listening", within_s=0.2)

        wait_until(is_heard, what="a stream in the place of the one that left")


def begun_stream(crm: Crm) -> Download | None:
    """Return a stream that listens, if there is a place for it."""
    stream = Download(crm, "/api/leads/stream")
    stream.read_until(b"\r\n\r\n")
    if b" 503 " in stream.received:
        stream.abort()
        return None
    stream.read_until(b": listening\n")
    return stream


def newest_event(crm: Crm) -> int:
    """Return the number from which only later events come."""
    page = crm.get("/api/feed", limit=500)
    while page["events"]:
        page = crm.get("/api/feed", limit=500, after=page["next"])
    next_number: int = page["next"]
    return next_number


def open_snapshots(crm: Crm) -> int:
    """Count the transactions that exports hold open; SQLite does not tell."""
    if crm.rows.is_sqlite:
        return 0
    such = "datname = current_database() AND state LIKE 'idle in transaction%'"
    return len(crm.rows.select(f"SELECT pid FROM pg_stat_activity WHERE {such}"))


def connections(crm: Crm) -> int:
    """Count the server's connections to PostgreSQL."""
    if crm.rows.is_sqlite:
        return 0
    such = "datname = current_database() AND pid <> pg_backend_pid()"
    return len(crm.rows.select(f"SELECT pid FROM pg_stat_activity WHERE {such}"))


def begun(crm: Crm) -> Download | None:
    """Return an export in the middle of its file, if there is a place for it."""
    download = Download(crm, EXPORT)
    download.read_until(b"\r\n\r\n")
    if not download.received.startswith(b"HTTP/1.1 200 "):
        download.abort()
        return None
    download.read_until(b"\n{")
    return download


def test_downloads_that_are_given_up_make_room_for_others(crm: Crm) -> None:
    def wait_begun() -> Download:
        download = wait_until(lambda: begun(crm), what="a place for an export")
        assert download is not None
        return download

    for _ in range(READERS):
        # The readers connect for their first jobs.
        assert crm.ids(limit=1)
    before = connections(crm)
    with ExitStack() as stack:
        for _ in range(MOST_EXPORTS):
            stack.enter_context(wait_begun())
        another = crm.ask("GET", EXPORT)
        assert (another.status, another.json()["error"]) == (503, "unavailable")
        assert "2 exports are running" in another.json()["message"]
        assert int(another.header("Retry-After") or 0) > 0
        assert crm.server.client.post_lead({}).status == 201
    # Each gives its place back, and its moment of the database.
    for _ in range(MOST_EXPORTS + 1):
        wait_begun().abort()
    with wait_begun() as whole:
        whole.read_until(LAST_CHUNK)
        assert whole.received.count(b'{"id":') == LARGE_LEADS
    wait_until(lambda: open_snapshots(crm) == 0, what="the last moment to be let go")
    wait_until(lambda: connections(crm) <= before, what="the last connection to be let go")
