"""Where secrets are read from, and that none of them is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadcrm.configuration.config import load
from tests.unit.test_config import read, refusal


@pytest.mark.parametrize(
    ("name", "content", "value"),
    [
        ("ADMIN_TOKEN", "s3cret\n", "s3cret"),
        ("INGEST_TOKEN", "s3cret", "s3cret"),
        ("ADMIN_TOKEN", "s3cret\r\n", "s3cret"),
    ],
)
def test_a_secret_can_be_read_from_a_file(tmp_path: Path, name: str, content: str, value: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content.encode())
    config = read(tmp_path, **{f"{name}_FILE": str(path)})
    assert getattr(config, name.lower()) == value
    assert config.sources[name] == f"file {path}"


def test_only_one_line_break_is_removed_from_a_secrets_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n\n")
    error = refusal(tmp_path, {"ADMIN_TOKEN_FILE": "secret"})
    assert "s3cret" not in str(error)


def test_a_flag_or_a_variable_can_name_the_file_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "url").write_text("postgresql://u:pw@h/d\n")
    config = load({"ADMIN_TOKEN_FILE": "token"}, {"DATABASE_URL_FILE": "url"}, tmp_path)
    assert config.admin_token == "s3cret"
    assert config.sources["ADMIN_TOKEN"] == f"file {tmp_path / 'token'}"
    assert config.database.has_password


def test_a_systemd_credential_overrides_dotenv_and_yields_to_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ADMIN_TOKEN=from-dotenv\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "ADMIN_TOKEN").write_text("from-credential\n")
    credentials = str(tmp_path / "credentials")
    config = read(tmp_path, CREDENTIALS_DIRECTORY=credentials)
    assert (config.admin_token, config.sources["ADMIN_TOKEN"]) == ("from-credential", "credential")
    assert read(tmp_path, CREDENTIALS_DIRECTORY=credentials, ADMIN_TOKEN="set").admin_token == "set"
    assert config.ingest_token is None


def test_an_unreadable_credential_is_refused(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("no directory")
    error = refusal(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert "Not a directory" in error.fault


def test_a_secret_set_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("in-file")
    error = refusal(tmp_path, {"ADMIN_TOKEN": "s3cret", "ADMIN_TOKEN_FILE": "secret"})
    assert error.variable == "ADMIN_TOKEN"
    assert "ADMIN_TOKEN_FILE" in error.fault
    assert "s3cret" not in str(error)


def test_a_secret_in_the_environment_overrides_a_file_named_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ADMIN_TOKEN_FILE=missing\n")
    assert read(tmp_path, ADMIN_TOKEN="set").admin_token == "set"


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"", "empty"), (b"\xff", "UTF-8")])
def test_a_missing_empty_or_binary_secrets_file_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    error = refusal(tmp_path, {"INGEST_TOKEN_FILE": "secret"})
    assert error.variable == "INGEST_TOKEN"
    assert reason in error.fault


def test_a_variable_that_is_no_secret_cannot_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("4000")
    assert read(tmp_path, PORT_FILE="port").port == 3000


def test_a_password_on_the_command_line_is_refused_without_quoting_it(tmp_path: Path) -> None:
    error = refusal(tmp_path, {}, {"DATABASE_URL": "postgresql://u:s3cret@h/d"})
    assert "DATABASE_URL_FILE" in error.accepted
    assert "s3cret" not in str(error)
    assert load({"DATABASE_URL": "postgresql://u@h/d"}, {}, tmp_path).sources["DATABASE_URL"] == "flag"


def test_a_token_on_the_command_line_is_refused_without_quoting_it(tmp_path: Path) -> None:
    error = refusal(tmp_path, {}, {"ADMIN_TOKEN": "s3cret"})
    assert "--admin-token-file" in error.accepted
    assert "s3cret" not in str(error)


def test_no_secret_appears_in_a_repr_or_in_an_error(tmp_path: Path) -> None:
    config = read(tmp_path, DATABASE_URL="postgresql://u:s3cret@h/d", ADMIN_TOKEN="s3cret", INGEST_TOKEN="s3cret")
    assert "s3cret" not in repr(config)
    for name in ("DATABASE_URL", "ADMIN_TOKEN", "INGEST_TOKEN"):
        assert "s3cret" not in str(refusal(tmp_path, {name: "s3cret \u00e9"}))
