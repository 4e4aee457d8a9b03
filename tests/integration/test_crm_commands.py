"""The CRM from a terminal: search, changes, replay and export, and no hostile text on the screen."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leadcrm.ingest.spool.spool import Spool
from tests.support.command import leadcrm
from tests.support.crm import keep, run_command, submission
from tests.support.rows import Rows
from tests.support.server import clean_environment, command

Run = Callable[..., subprocess.CompletedProcess[str]]

ESCAPES = "\x1b[31mred\x1b[0m\x07\x9b2J\u202egnp.exe"


@pytest.fixture
def run(tmp_path: Path, database: str) -> Run:
    keep(database, [])
    return lambda *words: run_command(tmp_path / "run", database, *words)


def document(done: subprocess.CompletedProcess[str], status: int = 0) -> Any:
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def body(**fields: str) -> bytes:
    return json.dumps(fields).encode()


def test_leads_are_listed_newest_first_and_filtered(database: str, run: Run) -> None:
    rows = [submission(body(email=f"{name}@example.com", country=name)) for name in ("lv", "lt", "lv")]
    keep(database, rows)
    listed = document(run("leads", "list", "--json"))
    assert [lead["id"] for lead in listed["leads"]] == [row.id for row in reversed(rows)]
    assert listed["next"] is None
    only = document(run("leads", "list", "--country", "lv", "--json"))["leads"]
    assert [lead["id"] for lead in only] == [rows[2].id, rows[0].id]
    first = document(run("leads", "list", "--limit", "2", "--json"))
    rest = document(run("leads", "list", "--limit", "2", "--cursor", first["next"], "--json"))
    assert [lead["id"] for lead in rest["leads"]] == [rows[0].id]
    assert rows[0].id in run("leads", "list", "-q", "LV@").stdout


def test_a_list_shows_the_columns_that_fit_or_were_asked_for(database: str, tmp_path: Path) -> None:
    long = "Offer " * 20
    keep(
        database, [submission(body(phone="+37126123456", country="LV", offer=long, click_id="click-1", lastName="Lee"))]
    )

    def lines(*words: str) -> list[str]:
        done = leadcrm(tmp_path, "leads", "list", *words, DATABASE_URL=database)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    head, row = lines("--columns", "click_id,phone")
    assert (head.split(), row.split()) == (["click_id", "phone"], ["click-1", "+37126123456"])
    head, row = lines("--wide")
    assert "normalizerVersion" in head
    assert long.strip() in row
    refused = leadcrm(tmp_path, "leads", "list", "--columns", "nothing", DATABASE_URL=database)
    assert (refused.returncode, "accepted: id, click_id" in refused.stderr) == (2, True)


def test_a_date_is_a_whole_day_of_a_list_and_of_an_export(database: str, run: Run) -> None:
    noon = datetime(2024, 1, 15, 12, tzinfo=timezone.utc)
    days = [submission(body(), received_at=noon + timedelta(days=number)) for number in (-1, 0, 1)]
    keep(database, days)
    day = ("--from", "2024-01-15", "--to", "2024-01-15")
    assert [lead["id"] for lead in document(run("leads", "list", *day, "--json"))["leads"]] == [days[1].id]
    lines = run("export", "--format", "ndjson", *day).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [days[1].id]


def test_a_change_is_kept_with_who_made_it(database: str, run: Run, rows: Rows) -> None:
    row = submission(body(email="a@example.com"))
    keep(database, [row])
    assert document(run("leads", "set", row.id, "--status", "won", "--assigned-to", "anna", "--json")) == {
        row.id: "changed"
    }
    shown = document(run("leads", "show", row.id, "--json"))
    assert (shown["lead"]["status"], shown["lead"]["assignedTo"]) == ("won", "anna")
    assert [(event["field"], event["from"], event["to"]) for event in shown["events"]] == [
        ("status", "new", "won"),
        ("assignedTo", None, "anna"),
    ]
    assert all(event["by"] for event in shown["events"])
    assert document(run("leads", "set", row.id, "--assigned-to", "", "--json")) == {row.id: "changed"}
    assert rows.lead(row.id)["assigned_to"] is None


def test_leads_are_taken_noted_and_called_later(database: str, run: Run) -> None:
    first, second = (submission(body(phone=phone)) for phone in ("+371 26 123 456", "26999888"))
    keep(database, [first, second])
    assert document(run("leads", "next", "--actor", "anna", "--json"))["lead"]["id"] == first.id
    assert run("leads", "next", "--actor", "bruno").stdout.count(second.id) == 1
    nothing = run("leads", "next")
    assert (nothing.returncode, nothing.stderr) == (1, "leadcrm: every lead has somebody\n")
    run("leads", "note", first.id, "Asked for \x1b[31mred", "--actor", "anna")
    run("leads", "set", first.id, "--call-at", "2026-01-02T18:00:00+02:00", "--actor", "anna")
    history = document(run("leads", "show", first.id, "--json"))
    assert history["lead"]["callAt"] == "2026-01-02T16:00:00Z"
    assert [(event["field"], event["to"], event["by"]) for event in history["events"]] == [
        ("assignedTo", "anna", "anna"),
        ("note", "Asked for \x1b[31mred", "anna"),
        ("callAt", "2026-01-02T16:00:00Z", "anna"),
    ]
    assert "\x1b" not in run("leads", "show", first.id).stdout
    (due,) = document(run("leads", "list", "--due", "now", "--phone", "0037126123456", "--json"))["leads"]
    assert due["id"] == first.id
    run("leads", "set", first.id, "--call-at", "")
    assert document(run("leads", "list", "--due", "now", "--json"))["leads"] == []
    assert run("leads", "note", first.id, " ").returncode == 2
    assert run("leads", "note", str(UUID(int=0)), "a").returncode == 1


def test_a_correction_is_kept_with_what_was_sent(database: str, run: Run) -> None:
    row = submission(body(phone="26123", firstName="Ann"))
    keep(database, [row])
    corrections = ("--phone", "+371 26 123 456", "--first-name", "", "--last-name", "Kalni\u0146a")
    assert document(run("leads", "set", row.id, *corrections, "--json")) == {row.id: "changed"}
    shown = document(run("leads", "show", row.id, "--json"))
    assert {(event["field"], event["from"], event["to"]) for event in shown["events"]} == {
        ("phone", "26123", "+371 26 123 456"),
        ("firstName", "Ann", None),
        ("lastName", None, "Kalni\u0146a"),
    }
    assert json.loads(shown["raw"]["body"]) == {"phone": "26123", "firstName": "Ann"}
    assert run("leads", "set", row.id, row.id, "--phone", "1").returncode == 2
    assert run("leads", "set", row.id, "--phone", "1", "--actor", "mapping v1").returncode == 2


def test_the_id_of_a_duplicate_of_a_duplicate_leads_to_the_lead(database: str, run: Run, rows: Rows) -> None:
    first = submission(body(email="a@example.com"), key="k")
    repeat = submission(body(email="a@example.com"), key="k")
    conflict = submission(body(email="b@example.com"), key="k")
    keep(database, [first])
    keep(database, [repeat, conflict])
    statement = "UPDATE leads_raw SET duplicate_of = %s WHERE id = %s"
    rows.execute(statement, rows.as_id(repeat.id), rows.as_id(conflict.id))
    shown = document(run("leads", "show", conflict.id, "--json"))
    assert shown["lead"]["id"] == first.id
    assert shown["way"] == [conflict.id, repeat.id]
    assert document(run("leads", "set", repeat.id, "--status", "won", "--json")) == {repeat.id: "changed"}
    assert rows.lead(first.id)["status"] == "won"


def test_an_id_that_waits_in_the_spool_is_shown_and_leads_on(database: str, run: Run, tmp_path: Path) -> None:
    first = submission(body(email="a@example.com"))
    keep(database, [first])
    waiting = submission(body(email="b@example.com"))
    repeat = submission(body(email="a@example.com"), state="repeat")._replace(duplicate_of=first.id)
    (tmp_path / "run" / "data").mkdir(parents=True)
    spool = Spool(tmp_path / "run" / "data", max_bytes=10**8, min_free_bytes=0)
    spool.write([waiting, repeat])
    spool.close()
    shown = document(run("leads", "show", waiting.id, "--json"))
    assert (shown["lead"], shown["raw"]["state"]) == (None, "spooled")
    assert document(run("leads", "show", repeat.id, "--json"))["lead"]["id"] == first.id
    listed = document(run("raw", "list", "--state", "spooled", "--json"))["rows"]
    assert [row["id"] for row in listed] == [repeat.id, waiting.id]
    assert document(run("raw", "show", waiting.id, "--json"))["body"] == body(email="b@example.com").decode()
    assert document(run("replay", waiting.id, "--json"), status=1)[0]["state"] == "spooled"


def test_an_unknown_id_is_reported(run: Run) -> None:
    unknown = "0190b5d8-6c2e-7c3a-9d5f-3a1f0c2b4d6e"
    for words in (("leads", "show"), ("raw", "show")):
        done = run(*words, unknown)
        assert (done.returncode, done.stdout) == (1, "")
        assert unknown in done.stderr
    assert document(run("leads", "set", unknown, "--status", "x", "--json"), status=1) == {unknown: "missing"}


def test_requests_that_are_no_leads_are_listed_and_replayed(database: str, run: Run, rows: Rows) -> None:
    mended = submission(body(email="a@example.com"), state="invalid", error="a fault of ours")
    hopeless = submission(b"\xff\x00", state="invalid", error="a fault of ours")
    keep(database, [mended, hopeless])
    listed = document(run("raw", "list", "--json"))["rows"]
    assert [(row["id"], row["state"], row["bodyBytes"]) for row in listed] == [
        (hopeless.id, "invalid", 2),
        (mended.id, "invalid", len(mended.body or b"")),
    ]
    shown = document(run("raw", "show", hopeless.id, "--json"))
    assert (shown["bodyEncoding"], shown["body"]) == ("base64", "/wA=")
    assert shown["bodySha256"] == hashlib.sha256(b"\xff\x00").hexdigest()
    results = document(run("replay", "--state", "invalid", "--json"), status=1)
    assert [(result["id"], result["state"]) for result in results] == [
        (mended.id, "stored"),
        (hopeless.id, "invalid"),
    ]
    assert document(run("replay", mended.id, "--json"))[0]["changed"] is False
    assert [lead["id"] for lead in rows.leads()] == [mended.id]
    assert run("replay").returncode == 2
    assert run("replay", mended.id, "--state", "invalid").returncode == 2


def test_the_feed_is_printed_from_a_number_on_and_followed(database: str, run: Run, tmp_path: Path) -> None:
    sent = [submission(b"{}") for _ in range(3)]
    keep(database, sent[:2])
    events = [json.loads(line) for line in run("feed").stdout.splitlines()]
    assert [(event["type"], event["leadId"]) for event in events] == [("lead.created", row.id) for row in sent[:2]]
    assert events[0]["lead"]["id"] == sent[0].id
    rest = run("feed", "--after", str(events[0]["seq"]), "--thin").stdout.splitlines()
    assert [sorted(json.loads(line)) for line in rest] == [["at", "leadId", "seq", "type"]]
    beyond = run("feed", "--after", "999999999999999999")
    assert (beyond.returncode, beyond.stdout) == (1, "")
    follow = ["feed", "--follow", "--after", str(events[1]["seq"])]
    environment = {**clean_environment(tmp_path), "DATABASE_URL": database, "DATA_DIR": str(tmp_path / "data")}
    with subprocess.Popen([*command(), *follow], cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        keep(database, sent[2:])
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["leadId"] == sent[2].id
        process.terminate()


def test_nothing_that_a_terminal_obeys_reaches_the_screen(database: str, run: Run) -> None:
    row = submission(body(firstName=ESCAPES, email="<script>\n[red]a[/red]"))
    bad = submission(f"not json {ESCAPES}".encode(), state="invalid", error="why")
    keep(database, [row, bad])
    for words in (("leads", "list"), ("leads", "show", row.id), ("raw", "list"), ("raw", "show", bad.id)):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(done.stdout), words
    assert "[red]a[/red]" in run("leads", "list").stdout
    assert "\x1b" not in run("leads", "show", row.id, "--json").stdout


def test_an_export_holds_every_text_and_runs_no_formula(database: str, run: Run, tmp_path: Path) -> None:
    formulas = ["=cmd|'/c calc'!A0", "+371 2", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
    hostile = [*formulas, 'a "quoted", one\r\n', "<script>"]
    rows = [submission(body(firstName=text)) for text in hostile]
    keep(database, rows)
    done = run("export", "--format", "csv", "--output", "out.csv")
    assert done.returncode == 0, done.stderr
    content = (tmp_path / "run" / "out.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfid,click_id,")
    records = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    names = {record["id"]: record["firstName"] for record in records}
    led_in = [f"'{text}" for text in formulas]
    # Some spreadsheets begin another cell after a tab, and another row after a line break.
    led_in[4:7] = ["'\t'=1", "'\r'=1", "'\n'=1"]
    assert [names[row.id] for row in rows] == led_in + hostile[len(formulas) :]
    lines = run("export", "--format", "ndjson", "--from", "2024-01-01").stdout.splitlines()
    assert [json.loads(line)["firstName"] for line in lines] == hostile[::-1]
    assert json.loads(lines[0])["createdAt"].endswith("Z")


def test_an_export_that_is_not_read_to_its_end_or_fails_says_so_in_one_line(
    database: str, run: Run, tmp_path: Path
) -> None:
    keep(database, [submission(body(description="x" * 1000)) for _ in range(600)])
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "out.csv").write_text("from before")
    for target in ("/dev/full", str(tmp_path / "none" / "out.csv")):
        done = run("export", "--format", "csv", "--output", target)
        assert done.returncode == 1
        assert done.stderr.startswith(f"leadcrm: {target} cannot be written: ")
        assert len(done.stderr.splitlines()) == 1
    assert run("export", "--format", "csv", "--output", "out.csv").returncode == 0
    assert len((tmp_path / "run" / "out.csv").read_bytes()) > 600_000
    assert [file.name for file in (tmp_path / "run").iterdir() if "out.csv" in file.name] == ["out.csv"]


def test_a_database_that_is_away_is_one_line_and_not_a_stack(tmp_path: Path) -> None:
    for words in (["leads", "list"], ["raw", "list"], ["verify"], ["migrate", "status"]):
        done = leadcrm(tmp_path, *words, DATABASE_URL="postgresql://u:secret@127.0.0.1:9/none")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert "127.0.0.1:9/none" in done.stderr
        assert "secret" not in done.stderr


def test_output_that_cannot_be_written_is_one_line_and_not_a_stack(tmp_path: Path) -> None:
    environment = {**clean_environment(tmp_path), "DATA_DIR": str(tmp_path / "data")}
    lines = (["version"], ["migrate"], ["leads", "list"], ["export", "--format", "csv"])
    for words in lines:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*command(), *words], env=environment, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
                check=False, timeout=60,
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "leadcrm: No space left on device\n")
    for words in lines:
        closed = subprocess.run(
            ["sh", "-c", '"$@" >&-', "sh", *command(), *words], env=environment, cwd=tmp_path, capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (closed.returncode, closed.stderr) == (0, "")


def test_taking_over_the_original_cannot_be_combined_with_another_action(run: Run) -> None:
    done = run("migrate", "status", "--from-original")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_database_with_an_older_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "leads.sqlite3").touch()
    done = run_command(tmp_path, f"sqlite:///{tmp_path / 'leads.sqlite3'}", "leads", "list")
    assert done.returncode == 1
    assert "leadcrm migrate" in done.stderr


def test_exported_files_are_for_their_owner_alone_and_have_the_separator_that_was_asked_for(
    run: Run, database: str, tmp_path: Path
) -> None:
    keep(database, [submission(body(email="a;b", phone="+37120000000"))])
    files = {
        "leads.csv": ("csv", "--separator", "semicolon"),
        "again.csv": ("csv", "--separator", ";"),
        "leads.xlsx": ("xlsx",),
    }
    for name, words in files.items():
        done = run("export", "--output", name, "--format", *words)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / name).stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "run" / "leads.csv").read_bytes()
    assert text == (tmp_path / "run" / "again.csv").read_bytes()
    (row,) = csv.DictReader(io.StringIO(text.decode("utf-8-sig")), delimiter=";")
    assert (row["email"], row["phone"]) == ("a;b", "+37120000000")
    assert run("export", "--format", "csv", "--separator", "|").returncode == 2
    data = [path for path in (tmp_path / "run" / "data").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in data} <= {0}
