"""`leadcrm sources`: what there is, what is wrong with a text, and what a source would make of a body."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from leadcrm.crm.source_pages import URL, preset_document
from leadcrm.sources.catalogue import presets
from tests.conftest import StartServer
from tests.support.rows import Rows
from tests.support.server import clean_environment, command


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
    assert (status, len(json.loads(text))) == (0, 24)
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
