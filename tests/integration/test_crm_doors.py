"""The CRM over HTTP and from the command line: both give the same documents for the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from leadcrm.ingest.spool.spool import Spool
from leadcrm.ingest.submission import Submission
from tests.conftest import new_database, server_starter
from tests.support.crm import keep, run_command, submission
from tests.support.rows import Rows
from tests.support.server import Server
from tests.support.waiting import wait_until

TOKEN = "a-token-no-log-may-hold"
BEARER = ("Authorization", f"Bearer {TOKEN}")
REFUSE = {
    True: ["CREATE TRIGGER refuse BEFORE INSERT ON leads_raw BEGIN SELECT RAISE(ABORT, 'a trigger of the test'); END"],
    False: [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON leads_raw FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}
REFUSAL = {True: "a trigger of the test", False: "raise_exception (SQLSTATE P0001)"}

# Its body cannot be read, so it stays failed when the server tries again at its start.
FAILED = submission(b"hello", key="failed", state="failed", error="a fault of ours")
ROWS: Mapping[str, Submission] = {
    "lead": submission(b'{"email":"first@example.com"}', key="lead"),
    "another lead": submission(b'{"lastName":"Second","country":"LV"}'),
    "its repeat": submission(b'{"email":"first@example.com"}', key="lead"),
    "its conflict": submission(b'{"email":"other@example.com"}', key="lead"),
    "failed": FAILED,
    "repeat of failed": submission(b"hello", state="repeat")._replace(duplicate_of=FAILED.id),
    "conflict of failed": submission(b'{"email":"other@example.com"}', key="failed"),
    "invalid": submission(b"\xff\x00"),
}
SPOOLED: Mapping[str, Submission] = {
    "refused": submission(b'{"email":"refused@example.com"}'),
    "refused with an error": submission(b"{}", state="failed", error="normalizing failed: X"),
}
EVERY_ROW = (*ROWS, *SPOOLED)


class Doors:
    """A server and the command line, over one database and one spool."""

    def __init__(self, server: Server, database: str, directory: Path) -> None:
        self.server = server
        self.database = database
        self.directory = directory

    def get(self, target: str, **parameters: Any) -> Any:
        return json.loads(self.ask("GET", f"{target}?{urlencode(parameters, doseq=True)}"))

    def ask(self, method: str, target: str) -> bytes:
        answer = self.server.client.request(method, target, headers=[BEARER])
        assert answer.status == 200, answer.body
        return answer.body

    def run(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.output(*words, "--json", status=status))

    def output(self, *words: str, status: int = 0) -> str:
        done = run_command(self.directory, self.database, *words)
        assert done.returncode == status, done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def doors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    directory = tmp_path_factory.mktemp("doors")
    (directory / "data").mkdir()
    spool = Spool(directory / "data", max_bytes=10**8, min_free_bytes=0)
    spool.write(list(SPOOLED.values()))
    spool.close()
    for database in new_database(request.param, request, tmp_path_factory.mktemp("doors-database")):
        for row in ROWS.values():
            keep(database, [row])
        rows = Rows(database)
        for statement in REFUSE[rows.is_sqlite]:
            rows.execute(statement)
        environment = {"ADMIN_TOKEN": TOKEN, "DATA_DIR": str(directory / "data")}
        for start in server_starter(request.node, tmp_path_factory.mktemp("doors-server")):
            found = Doors(start(database, environment=environment), database, directory)
            client = found.server.client
            wait_until(lambda client=client: client.get("/ready").json()["spool"]["refused"] == len(SPOOLED))  # type: ignore[misc]
            found.run("leads", "set", ROWS["lead"].id, "--status", "won", "--assigned-to", "anna")
            yield found


def id_of(name: str) -> str:
    return {**ROWS, **SPOOLED}[name].id


@pytest.mark.parametrize("name", EVERY_ROW)
def test_a_lead_is_shown_with_the_same_history(doors: Doors, name: str) -> None:
    assert doors.run("leads", "show", id_of(name)) == doors.get(f"/api/leads/{id_of(name)}")


@pytest.mark.parametrize("name", EVERY_ROW)
def test_a_request_is_shown_with_the_same_content(doors: Doors, name: str) -> None:
    assert doors.run("raw", "show", id_of(name)) == doors.get(f"/api/raw/{id_of(name)}")


@pytest.mark.parametrize("name", ["lead", "failed"])
def test_the_duplicates_of_a_row_are_counted_whether_it_is_a_lead_or_not(doors: Doors, name: str) -> None:
    assert doors.run("leads", "show", id_of(name))["duplicates"] == {"repeats": 1, "conflicts": 1}


@pytest.mark.parametrize("name", list(SPOOLED))
def test_a_spooled_row_shows_why_the_database_refused_it(doors: Doors, name: str) -> None:
    refusal = REFUSAL[Rows(doors.database).is_sqlite]
    shown = doors.run("raw", "show", id_of(name))
    assert (shown["state"], shown["error"]) == ("spooled", refusal)
    (listed,) = (row for row in doors.run("raw", "list", "--state", "spooled")["rows"] if row["id"] == id_of(name))
    assert (listed["state"], listed["error"]) == ("spooled", refusal)


# Some, all that the database has, and all that it has together with the spool.
@pytest.mark.parametrize("limit", [3, len(EVERY_ROW) - len(SPOOLED) - 2, len(EVERY_ROW) - 2])
def test_the_inbox_has_the_same_pages(doors: Doors, limit: int) -> None:
    words: list[str] = []
    parameters: dict[str, str] = {}
    names = []
    while True:
        page = doors.run("raw", "list", "--limit", str(limit), *words)
        assert page == doors.get("/api/raw", limit=limit, **parameters)
        names.extend(row["id"] for row in page["rows"])
        if page["next"] is None:
            break
        words, parameters = ["--cursor", page["next"]], {"cursor": page["next"]}
    assert names == sorted((id_of(name) for name in EVERY_ROW if "lead" not in name), reverse=True)


@pytest.mark.parametrize("states", [["spooled"], ["failed"], ["stored", "spooled"], ["repeat", "conflict"]])
def test_a_state_lists_the_same_requests(doors: Doors, states: list[str]) -> None:
    words = [word for state in states for word in ("--state", state)]
    page = doors.run("raw", "list", *words)
    assert page == doors.get("/api/raw", state=states)
    assert {row["state"] for row in page["rows"]} == set(states)


@pytest.mark.parametrize(
    ("words", "parameters", "names"),
    [
        ([], {}, ["another lead", "lead"]),
        (["--status", "won"], {"status": "won"}, ["lead"]),
        (["-q", "FIRST"], {"q": "FIRST"}, ["lead"]),
        (["-q", "econ"], {"q": "econ"}, ["another lead"]),
        (["-q", "first", "--country", "LV"], {"q": "first", "country": "LV"}, []),
    ],
)
def test_a_filter_lists_the_same_leads(
    doors: Doors, words: list[str], parameters: dict[str, str], names: list[str]
) -> None:
    page = doors.run("leads", "list", *words)
    assert page == doors.get("/api/leads", **parameters)
    assert [lead["id"] for lead in page["leads"]] == [id_of(name) for name in names]


@pytest.mark.parametrize("name", EVERY_ROW)
def test_a_replay_has_the_same_result(doors: Doors, name: str) -> None:
    over_http = json.loads(doors.ask("POST", f"/api/raw/{id_of(name)}/replay"))
    (result,) = doors.run("replay", id_of(name), status=0 if over_http["leadId"] else 1)
    # The first replay of a conflict makes a lead of it, and the second finds that lead.
    assert result == over_http | {"changed": False}


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_an_export_is_the_same_file(doors: Doors, kind: str) -> None:
    over_http = doors.ask("GET", f"/api/leads/export?format={kind}")
    doors.output("export", "--format", kind, "--output", f"leads.{kind}")
    assert (doors.directory / f"leads.{kind}").read_bytes() == over_http
