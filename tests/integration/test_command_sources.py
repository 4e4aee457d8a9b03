"""`leadcrm sources`: what there is, what is wrong with a text, and what a source would make of a body."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from uuid_utils import uuid7

from leadcrm.crm.source_pages import URL, preset_document
from leadcrm.ingest.submission import Submission
from leadcrm.sources.catalogue import presets
from tests.conftest import StartServer
from tests.support.crm import keep, run_command, submission
from tests.support.rows import Rows
from tests.support.server import clean_environment, command
from tests.support.waiting import wait_until


def run(directory: Path, *words: str, body: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(
        [*command(), "sources", *words],
        cwd=directory,
        env={**clean_environment(directory), "SOURCES_FILE": "sources.toml"},
        input=body,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.decode() + done.stderr.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = '[source.ads]\npreset = "google-ads"\nsecret = "sesame"\n[source.land]\nmap.offer = ["query:o"]\n'
    (tmp_path / "sources.toml").write_text(text)
    return tmp_path


def test_sources_and_presets_are_listed_and_shown_without_secrets(folder: Path) -> None:
    status, text = run(folder, "list", "--json")
    sources = {source["source"]: source for source in json.loads(text)}
    assert (status, sources["ads"]["verify"], sources["land"]["verify"]) == (0, "body", "open")
    status, text = run(folder, "show", "ads", "--json")
    assert (status, "sesame" in text, json.loads(text)["secrets"]) == (0, False, 1)
    status, text = run(folder, "list", "--presets", "--json")
    assert (status, len(json.loads(text))) == (0, 26)
    status, text = run(folder, "show", "meta-leadgen")
    assert status == 0
    assert "Meta sends ids alone" in text
    assert run(folder, "show", "nothing")[0] == 1


def test_a_check_names_faults_by_line_and_open_sources(folder: Path) -> None:
    status, text = run(folder, "check")
    assert (status, "source land is open" in text) == (0, True)
    (folder / "faulty.toml").write_text("[source.a]\npreset = 'x'\n\n[source.b]\nmap.emial = 'e'\n")
    status, text = run(folder, "check", "faulty.toml")
    assert status == 78
    assert "line 2: source a: preset" in text
    assert "line 5: source b: map.emial" in text


def test_a_trial_shows_the_leads_of_a_body(folder: Path) -> None:
    body = b'[{"E-mail":"a@example.com"},{"Full name":"Una Ozola"}]'
    status, text = run(folder, "try", "land", "--query", "o=spring", "--json", body=body)
    assert status == 0
    document = json.loads(text)
    assert (document["state"], [lead["fields"] for lead in document["leads"]]) == (
        "batch",
        [{"email": "a@example.com", "offer": "spring"}, {"firstName": "Una", "lastName": "Ozola", "offer": "spring"}],
    )


def test_the_command_on_each_presets_page_makes_a_lead(
    start_server: StartServer, database: str, rows: Rows, tmp_path: Path
) -> None:
    """Where only ids are sent, the page says so."""
    text = "".join(f'[source.{name}]\npreset = "{name}"\nsecret = "SECRET"\n' for name in presets())
    (tmp_path / "sources.toml").write_text(text)
    server = start_server(database, environment={"SOURCES_FILE": str(tmp_path / "sources.toml")})
    for name in presets():
        page = preset_document(name)
        assert len(page["steps"]) >= 2
        url = f"http://{server.host}:{server.port}"
        written = page["test"].replace(URL, url).replace("NAME", name).replace("TOKEN", "SECRET")
        done = subprocess.run(["sh", "-c", written], capture_output=True, text=True, check=False, timeout=30)
        assert done.stdout.startswith(("HTTP/1.1 200", "HTTP/1.1 201", "HTTP/1.1 303")), (name, done.stdout)
        (lead,) = rows.select("SELECT * FROM leads WHERE source = %s", name)
        ids_only = any(step.startswith("Only ids arrive") for step in page["steps"])
        assert lead["click_id" if ids_only or name == "postback" else "email"], name


def test_a_source_that_used_to_send_and_fell_silent_is_told(
    database: str, tmp_path: Path, start_server: StartServer
) -> None:
    now = datetime.now(timezone.utc)

    def sent(source: str, hours_ago: float, state: str | None = None) -> Submission:
        at = now - timedelta(hours=hours_ago)
        id = str(UUID(bytes=int(at.timestamp() * 1000).to_bytes(6, "big") + uuid7().bytes[6:]))
        row = submission(b"{}", received_at=at, lead_id=id, state=state, error=state and "why")
        return row._replace(source=source)

    (tmp_path / "sources.toml").write_text(
        "[source.often]\n[source.seldom]\n[source.never]\n[source.off]\nenabled = false\n"
    )
    often = [sent("often", 240 + hours) for hours in range(12)]
    seldom = [sent("seldom", 24 * days) for days in (2, 8, 14, 20, 26, 28)]
    off = [sent("off", 240 + hours) for hours in range(12)]
    keep(database, [*often, *seldom, *off, sent("often", 1, "event"), sent("often", 24 * 40)])
    file = f"--sources-file={tmp_path / 'sources.toml'}"
    done = run_command(tmp_path, database, "sources", "list", "--json", file)
    listed = {document["source"]: document for document in json.loads(done.stdout)}
    assert listed["often"]["warning"] == "silent for 10 days"
    assert (listed["often"]["leads"], listed["often"]["requests"]) == (12, {"stored": 12, "event": 1})
    assert listed["often"]["lastRequest"] > listed["often"]["lastLead"]
    assert (listed["seldom"]["warning"], listed["seldom"]["leads"]) == (None, 6)
    assert (listed["never"]["lastRequest"], listed["never"]["warning"]) == (None, None)
    checked = run_command(tmp_path, database, "check", "--json", file)
    named = [check["text"] for check in json.loads(checked.stdout)["checks"] if check["name"] == "sources"]
    assert named == ["4 sources can be used", "anybody can send leads to often, seldom, never, off"]
    server = start_server(database, environment={"SOURCES_FILE": str(tmp_path / "sources.toml"), "WORKERS": "2"})
    fault = wait_until(lambda: server.client.get("/ready").json()["fault"])
    assert fault == "the source often has been silent for 10 days"
    assert server.client.get("/ready").status == 200
    silent_s = server.client.metric("leadcrm_source_silent_seconds", source="often")
    assert 240 * 3600 <= silent_s < 241 * 3600
    assert server.client.metric("leadcrm_source_silent_seconds", source="seldom") == 0
    assert server.client.metric("leadcrm_source_silent_seconds", source="never") == 0
    assert 'source="off"' not in server.client.get("/metrics").body.decode()
    # The log's lines are written a moment later.
    wait_until(lambda: any(record["msg"] == "a source has fallen silent" for record in server.log_records()))
    told = [record for record in server.log_records() if record["msg"] == "a source has fallen silent"]
    assert [record["source"] for record in told] == ["often"]
    (tmp_path / "sources.toml").write_text('[source.often]\npreset = "none"\n')
    assert run_command(tmp_path, database, "check", file).returncode == 1
