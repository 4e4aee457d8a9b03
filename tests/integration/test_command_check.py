"""`leadcrm check`: its checks, and the hint where one fails."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from leadcrm.configuration.config import load
from leadcrm.operations.checks import run_checks
from tests.support.command import leadcrm
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer, split_schema
from tests.support.rows import Rows


def checked(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the checks by their names."""
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_all_is_well_on_a_migrated_database(database: str, tmp_path: Path) -> None:
    assert leadcrm(tmp_path, "migrate", DATABASE_URL=database).returncode == 0

    done = leadcrm(tmp_path, "check", "--json", DATABASE_URL=database)

    checks = checked(done)
    assert all(check["ok"] for check in checks.values()), checks
    assert done.returncode == 0
    expected = {"data folder", "database", "schema", "database write", "replication", "spool", "disk"}
    if database.startswith("postgres"):
        expected |= {"encoding", "fsync", "full_page_writes", "synchronous_commit", "clock"}
    else:
        expected |= {"database file"}
    assert set(checks) == expected
    assert checks["replication"]["text"].startswith("an acknowledged lead is on one disk")


@pytest.mark.parametrize("setting", ["remote_apply", "remote_write", "local"])
def test_commits_that_reach_a_disk_are_durable_whatever_else_they_wait_for(
    whole_database: str, tmp_path: Path, postgres: PostgresServer, setting: str
) -> None:
    name = whole_database.rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = {setting}')

    check = checked(leadcrm(tmp_path, "check", "--json", DATABASE_URL=whole_database))["synchronous_commit"]

    assert (check["ok"], check["text"]) == (True, setting)


@pytest.mark.parametrize("direction", ["-", "+"])
def test_a_clock_that_is_off_either_way_fails_with_its_hint(
    whole_database: str, tmp_path: Path, postgres: PostgresServer, direction: str
) -> None:
    name = whole_database.rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    postgres.execute(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        f"AS $$ SELECT pg_catalog.clock_timestamp() {direction} interval '2 minutes' $$",
        url=whole_database,
    )

    check = checked(leadcrm(tmp_path, "check", "--json", DATABASE_URL=whole_database))["clock"]

    assert not check["ok"]
    assert "NTP" in check["hint"]


def test_a_role_that_may_only_keep_leads_is_enough(
    whole_database: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    assert leadcrm(tmp_path, "migrate", DATABASE_URL=whole_database).returncode == 0
    postgres.execute(
        "CREATE ROLE keeper LOGIN; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO keeper", url=whole_database
    )
    postgres.execute("GRANT UPDATE ON leads_ledger TO keeper", url=whole_database)
    try:
        keeper = "postgresql://keeper@" + whole_database.rpartition("@")[2].removeprefix("postgresql://")
        checks = checked(leadcrm(tmp_path, "check", "--json", DATABASE_URL=keeper))
        assert [name for name, check in checks.items() if not check["ok"]] == []
        postgres.execute("REVOKE INSERT ON leads_raw FROM keeper", url=whole_database)
        check = checked(leadcrm(tmp_path, "check", "--json", DATABASE_URL=keeper))["database write"]
        assert (check["ok"], check["text"]) == (False, "permission denied for table leads_raw (SQLSTATE 42501)")
        assert "GRANT" in check["hint"]
    finally:
        postgres.execute("DROP OWNED BY keeper; DROP ROLE keeper", url=whole_database)


def test_a_schema_that_was_not_migrated_fails_and_names_the_command(database: str, tmp_path: Path) -> None:
    if database.startswith("sqlite"):
        Path(database.removeprefix("sqlite:///")).touch()

    done = leadcrm(tmp_path, "check", DATABASE_URL=database)

    assert done.returncode == 1
    assert "FAILED  schema" in done.stdout
    assert "to do: leadcrm migrate" in done.stdout


def test_a_missing_index_of_the_keys_fails(database: str, tmp_path: Path) -> None:
    assert leadcrm(tmp_path, "migrate", DATABASE_URL=database).returncode == 0
    schema = split_schema(database)[1]
    Rows(database).execute(f"DROP INDEX {f'{schema}.' if schema else ''}leads_raw_key")

    check = checked(leadcrm(tmp_path, "check", "--json", DATABASE_URL=database))["schema"]

    assert not check["ok"]
    assert "leads_raw_key is gone" in check["text"]
    assert "leadcrm verify" in check["hint"]


def test_a_database_that_is_away_fails_alone(tmp_path: Path) -> None:
    url = f"postgresql://leadcrm:hunter2@127.0.0.1:{free_port()}/leadcrm"

    done = leadcrm(tmp_path, "check", "--json", DATABASE_URL=url, ADMIN_TOKEN="a-token")

    assert done.returncode == 1
    assert [name for name, check in checked(done).items() if not check["ok"]] == ["database"]
    assert "hunter2" not in done.stdout + done.stderr
    assert "a-token" not in done.stdout + done.stderr


def test_a_disk_without_headroom_fails(tmp_path: Path) -> None:
    done = leadcrm(tmp_path, "check", "--json", MIN_FREE_BYTES=str(1 << 45))

    assert done.returncode == 1
    assert not checked(done)["disk"]["ok"]
    assert not checked(done)["spool"]["ok"]


def test_a_misspelt_variable_fails_and_names_the_one_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("INGEST_TOKN=a-token\n")

    done = leadcrm(tmp_path, "check")

    assert done.returncode == 1
    assert "INGEST_TOKN in .env is no variable" in done.stdout
    assert "to do: did you mean INGEST_TOKEN?" in done.stdout
    assert "a-token" not in done.stdout


def test_a_disk_without_inodes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def without_inodes(path: Path) -> os.statvfs_result:
        fields = list(real(path))
        fields[7] = 0  # f_favail
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", without_inodes)
    disk = {check.name: check for check in run_checks(load({}, {}, tmp_path))}["disk"]
    assert not disk.ok
    assert "no inodes" in disk.text
    assert "df -i" in disk.hint


def test_every_variable_is_shown_with_its_source(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=4000\n")

    done = leadcrm(tmp_path, "check", "--json", "--workers", "2", LOG_LEVEL="warn")

    shown = json.loads(done.stdout)["configuration"]
    assert shown["PORT"] == {"value": "4000", "source": ".env"}
    assert shown["WORKERS"] == {"value": "2", "source": "flag"}
    assert shown["LOG_LEVEL"] == {"value": "warn", "source": "environment"}
    assert shown["SPOOL"] == {"value": "on", "source": "default"}


def test_a_file_of_sinks_that_keeps_the_server_from_starting_fails(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text("[sink.a]\nurl = 'https://a.example/'\n")
    given = {"DATABASE_URL": f"sqlite:///{tmp_path}/leads.db", "SINKS_FILE": str(file)}
    checks = json.loads(leadcrm(tmp_path, "check", "--json", **given).stdout)["checks"]
    told = [(check["ok"], check["text"]) for check in checks if check["name"] == "sinks"]
    assert told == [(True, "1 sinks can be used"), (True, "receivers of a cannot tell who sends: nothing is signed")]
    file.write_text("[sink.a]\n")
    check = checked(leadcrm(tmp_path, "check", "--json", **given))["sinks"]
    assert (check["ok"], "line 1: sink a: url" in check["text"], check["hint"]) == (False, True, "leadcrm sinks check")


@pytest.mark.parametrize("data_dir", ["/dev/null", "/proc/x"])
def test_a_data_folder_that_cannot_be_one_fails_among_the_other_checks(tmp_path: Path, data_dir: str) -> None:
    done = leadcrm(tmp_path, "check", "--json", DATA_DIR=data_dir)

    assert (done.returncode, done.stderr) == (1, "")
    check = checked(done)["data folder"]
    assert not check["ok"]
    assert check["text"].startswith(f"DATA_DIR: {data_dir}: ")


def test_values_are_shown_as_they_are_written(tmp_path: Path) -> None:
    done = leadcrm(tmp_path, "check", "--json", STATUSES="new,won:won", TIME_ZONE="Europe/Riga")

    shown = {name: one["value"] for name, one in json.loads(done.stdout)["configuration"].items()}
    assert (shown["STATUSES"], shown["TIME_ZONE"]) == ("new:open:grey,won:won:green", "Europe/Riga")
    assert (shown["SOURCES_FILE"], shown["SINKS_FILE"]) == ("none", "none")
