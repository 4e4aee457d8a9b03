"""`leadcrm renormalize`: old leads are what their kept bytes mean by the rules of now, but for what people set."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from uuid_utils import uuid7

from leadcrm.crm import renormalize as module
from leadcrm.crm.renormalize import renormalize
from leadcrm.database.entities import FIELD_COLUMNS
from leadcrm.database.sessions import bind, session
from leadcrm.ingest.normalize import NORMALIZER_VERSION
from leadcrm.ingest.submission import Submission
from tests.support.crm import MAX_DECODED_BYTES, keep, run_command, submission, url_of
from tests.support.rows import Rows

EARLY, LATE = (datetime(2026, month, 1, tzinfo=timezone.utc) for month in (1, 6))


def of_land(body: dict[str, str], received_at: datetime = LATE) -> Submission:
    row = submission(json.dumps(body).encode(), received_at=received_at)
    return row._replace(source="land", target="/in/land")


def set_by(actor: str, database: str, id: str, column: str, value: str) -> None:
    entities = bind(url_of(database))
    with session(entities, writes=True):
        setattr(entities.lead.get(raw=UUID(id)), column, value)
        entities.lead_event(
            id=UUID(str(uuid7())),
            lead_id=UUID(id),
            at=datetime(2026, 7, 1),
            field=column,
            from_value=None,
            to_value=value,
            actor=actor,
        )
    entities.database.disconnect()


def test_columns_follow_the_mapping_of_now_and_people_keep_theirs(database: str, rows: Rows, tmp_path: Path) -> None:
    def run(*words: str) -> Any:
        file = f"--sources-file={tmp_path / 'sources.toml'}"
        done = run_command(tmp_path, database, "renormalize", file, "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (tmp_path / "sources.toml").write_text(
        '[source.land]\nmap.offer = ["plan"]\nmap.creo = []\nmap.email = ["mail2", "email"]\n'
    )
    first = of_land(
        {"phone": "26111", "email": "old@example.com", "mail2": "new@example.com", "plan": "gold", "creo": "x"}
    )
    second = of_land({"email": "b@example.com", "plan": "silver", "creo": "x"})
    early = of_land({"plan": "early"}, EARLY)
    keep(database, [first, second, early, submission(b'{"plan":"no source"}')])
    set_by("Anna", database, second.id, "offer", "by hand")
    done = run_command(tmp_path, database, "leads", "set", first.id, "--phone", "+371 26 111 222")
    assert done.returncode == 0, done.stderr
    set_by("mapping v0", database, first.id, "offer", "by an old mapping")
    before = rows.leads()

    shown = run("--source", "land", "--since", "2026-06-01", "--dry-run")
    assert rows.leads() == before
    assert (shown["dryRun"], shown["leads"], shown["changed"]) == (True, 2, 2)
    counts = {
        name: [each[kind] for kind in ("filled", "changed", "emptied", "kept")]
        for name, each in shown["columns"].items()
    }
    assert counts == {
        "offer": [0, 1, 0, 1],
        "creo": [0, 0, 2, 0],
        "email": [0, 1, 0, 0],
        "phone": [0, 0, 0, 1],
    }
    assert {"id": first.id, "from": "old@example.com", "to": "new@example.com"} in shown["columns"]["email"]["samples"]

    done = run("--source", "land", "--since", "2026-06-01")
    assert (done["dryRun"], done["columns"]) == (False, shown["columns"])
    lead = rows.lead(first.id)
    assert (lead["email"], lead["offer"], lead["creo"]) == ("new@example.com", "gold", None)
    assert lead["phone"] == "+371 26 111 222", "what people corrected stays"
    assert rows.lead(second.id)["offer"] == "by hand"
    assert rows.lead(early.id)["offer"] is None
    events = rows.select(
        "SELECT field, from_value, to_value, actor FROM lead_events WHERE lead_id = %s", rows.as_id(first.id)
    )
    assert {event["field"] for event in events if event["actor"] == "mapping v1"} == {"email", "offer", "creo"}
    assert rows.raw_row(first.id)["mapping_version"] == 1
    assert run("--source", "land")["changed"] == 1, "only the early one is left"
    assert run("--source", "land")["changed"] == 0

    (tmp_path / "sources.toml").write_text("[source.other]\n")
    refused = run_command(
        tmp_path, database, "renormalize", f"--sources-file={tmp_path / 'sources.toml'}", "--source=land"
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("leadcrm: SOURCES_FILE has no source 'land'; there are: api, other\n")
    assert run()["columns"] == {}, "without a mapping they stay as they are"


def test_a_sources_charset_mends_what_was_kept_without_it(database: str, rows: Rows, tmp_path: Path) -> None:
    def run(command: str, *words: str) -> None:
        done = run_command(tmp_path, database, command, f"--sources-file={tmp_path / 'sources.toml'}", *words)
        assert done.returncode == 0, done.stderr

    def of_form(form: dict[str, str], state: str) -> Submission:
        row = submission(urlencode(form, encoding="cp1251").encode(), state=state)
        return row._replace(source="land", target="/in/land", content_type="application/x-www-form-urlencoded")

    lead = of_form({"firstName": "Анна", "email": "a@b.ru"}, "stored")
    lead = lead._replace(fields=tuple({"first_name": "\ufffd" * 4}.get(column) for column in FIELD_COLUMNS))
    invalid = of_form({"Имя": "Ольга"}, "invalid")
    keep(database, [lead, invalid])
    (tmp_path / "sources.toml").write_text("[source.land]\n")
    run("renormalize", "--source=land")
    assert rows.lead(lead.id)["first_name"] == "\ufffd" * 4
    (tmp_path / "sources.toml").write_text('[source.land]\ncharset = "windows-1251"\n')
    run("renormalize", "--source=land")
    run("replay", "--state=invalid")
    assert rows.lead(lead.id)["first_name"] == "Анна"
    assert rows.lead(invalid.id)["first_name"] == "Ольга"
    assert rows.raw_row(invalid.id)["state"] == "stored"


def test_leads_of_the_api_are_read_again_once_by_each_version(
    database: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 2)
    made = [submission(json.dumps({"email": f"{number}@example.com"}).encode()) for number in range(5)]
    keep(database, made)
    rows.execute("UPDATE leads SET email = NULL, normalizer_version = %s", NORMALIZER_VERSION - 1)
    entities = bind(url_of(database))

    def run() -> tuple[int, int]:
        report = renormalize(
            entities,
            NoSources(),
            source=None,
            since=None,
            max_decoded_bytes=MAX_DECODED_BYTES,
            is_dry_run=False,
        )
        return report.leads, report.changed

    assert run() == (5, 5)
    assert sorted(lead["email"] for lead in rows.leads()) == [f"{number}@example.com" for number in range(5)]
    assert run() == (0, 0)
    entities.database.disconnect()


class NoSources:
    names = ()

    def reread(self, row: Submission, *, at_leisure: bool) -> None:
        return None
