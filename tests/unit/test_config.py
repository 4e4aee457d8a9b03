"""Which source a value comes from, which values are accepted, and how a bad one is reported."""

from __future__ import annotations

import os
import pickle
import re
import socket
from collections.abc import Mapping
from datetime import timedelta, timezone
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from leadcrm.configuration.config import VARIABLES, Config, RateLimit, load
from leadcrm.configuration.parsing import Status
from leadcrm.configuration.time_zone import UTC, TimeZone
from leadcrm.errors import EXIT_CONFIG, ConfigError

DOTENV_EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def read(directory: Path, **environ: str) -> Config:
    return load({}, environ, directory)


def refusal(directory: Path, environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(flags or {}, environ, directory)
    error = raised.value
    assert error.exit_status == EXIT_CONFIG
    assert "\n" not in str(error)
    assert str(error).startswith(error.variable)
    assert error.accepted.split()[0] in str(error)
    return error


def test_nothing_set_gives_the_documented_defaults(directory: Path) -> None:
    config = read(directory)
    assert config.database.path == directory / "data" / "leadcrm.db"
    assert (config.host, config.port) == ("0.0.0.0", 3000)
    assert (config.environment, config.log_level, config.workers) == ("production", "info", 1)
    assert config.data_dir == directory / "data"
    assert (config.max_body_bytes, config.min_free_bytes) == (1048576, 67108864)
    assert (config.queue_bytes, config.spool_bytes) == (64 * 1024**2, 1024**3)
    assert config.cors_origins == ("*",)
    assert (config.shutdown_timeout_s, config.commit_timeout_s) == (30.0, 1.5)
    assert (config.rate_limit, config.trusted_proxies) == (None, ())
    assert (config.ingest_token, config.admin_token) == (None, None)
    assert (config.spool, config.node_name) == (True, socket.gethostname())
    assert set(config.sources) == {variable.name for variable in VARIABLES}
    assert set(config.sources.values()) == {"default"}


def test_a_flag_overrides_the_environment_and_that_overrides_dotenv_and_the_default(directory: Path) -> None:
    (directory / ".env").write_text("PORT=1\nHOST=127.0.0.3\nWORKERS=3\n")
    config = load({"PORT": "3", "HOST": None, "WORKERS": ""}, {"PORT": "2", "HOST": "127.0.0.2"}, directory)
    assert (config.port, config.host, config.workers) == (3, "127.0.0.2", 3)
    names = ("PORT", "HOST", "WORKERS", "SPOOL")
    assert [config.sources[name] for name in names] == ["flag", "environment", ".env", "default"]


def test_a_name_in_dotenv_that_is_nearly_a_variable_is_misspelt(directory: Path) -> None:
    (directory / ".env").write_text(
        "INGEST_TOKN=a\nport=4001\nLEADCRM_WORKERS=2\nADMIN_TOKEN_FIL=x\nMAXBODYBYTES=1\n"
        "PORT=4000\nNODE_ENV=production\nPOSTGRES_PASSWORD=x\nSMTP_HOST=x\nTEST_DATABASE_URL=x\nPATH=x\n"
    )
    assert read(directory).misspelt == {
        "ADMIN_TOKEN_FIL": "ADMIN_TOKEN_FILE",
        "INGEST_TOKN": "INGEST_TOKEN",
        "LEADCRM_WORKERS": "WORKERS",
        "MAXBODYBYTES": "MAX_BODY_BYTES",
        "port": "PORT",
    }
    assert read(directory, INGEST_TOKN="the environment is full of others' names").misspelt.keys() == {
        "ADMIN_TOKEN_FIL", "INGEST_TOKN", "LEADCRM_WORKERS", "MAXBODYBYTES", "port"
    }  # fmt: skip


def test_an_empty_string_counts_as_unset(directory: Path) -> None:
    (directory / ".env").write_text("PORT=\nHOST\nADMIN_TOKEN=''\n")
    config = read(directory, PORT="", LOG_LEVEL="", ADMIN_TOKEN="", ADMIN_TOKEN_FILE="", DATA_DIR="")
    assert (config.port, config.log_level, config.admin_token) == (3000, "info", None)
    assert config.database.provider == "sqlite"


@pytest.mark.parametrize("set_empty", ["environment", ".env"])
def test_a_database_url_that_is_set_but_empty_is_no_wish_for_sqlite(directory: Path, set_empty: str) -> None:
    if set_empty == ".env":
        (directory / ".env").write_text("DATABASE_URL=\n")
    environ = {"DATABASE_URL": ""} if set_empty == "environment" else {}
    fault = refusal(directory, environ)
    assert (fault.variable, fault.fault) == ("DATABASE_URL", "is set, but empty")
    (directory / "url").write_text("sqlite:///leads.db")
    assert load({}, {**environ, "DATABASE_URL_FILE": "url"}, directory).database.path == directory / "leads.db"


@pytest.mark.parametrize("name", ["DATA_DIR", "SOURCES_FILE", "SINKS_FILE", "DATABASE_URL"])
@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ('"{}"', "has quotes or blanks around it"),
        ("'{}'", "has quotes or blanks around it"),
        (" {}", "has quotes or blanks around it"),
        ("{} ", "has quotes or blanks around it"),
        ("{}\r", "holds control characters"),
        ("{}\nPORT=1", "holds control characters"),
        ("~/{}", "begins with ~"),
        ("$HOME/{}", "begins with $"),
        ("%S/{}", "begins with %"),
    ],
)
def test_a_path_that_is_not_meant_as_it_is_written_is_refused(
    directory: Path, name: str, written: str, fault: str
) -> None:
    text = written.format("leads")
    if name == "DATABASE_URL":
        text = f"sqlite:///{quote(text)}"
    refused = refusal(directory, {name: text})
    assert refused.variable == name
    assert fault in refused.fault


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("HOST=::1", "host", "::1"),
        ("HOST=[::1]", "host", "::1"),
        ("HOST=localhost", "host", "localhost"),
        ("PORT=0", "port", 0),
        ("PORT=65535", "port", 65535),
        ("LEADCRM_ENV=development", "environment", "development"),
        ("LEADCRM_ENV=production", "environment", "production"),
        ("LOG_LEVEL=TRACE", "log_level", "trace"),
        ("LOG_LEVEL=fatal", "log_level", "fatal"),
        ("WORKERS=4", "workers", 4),
        ("MAX_BODY_BYTES=64", "max_body_bytes", 64),
        ("MAX_BODY_BYTES=2MiB", "max_body_bytes", 2 * 1024**2),
        ("MAX_BODY_BYTES=2MB", "max_body_bytes", 2_000_000),
        ("MAX_BODY_BYTES=64k", "max_body_bytes", 65536),
        ("MAX_BODY_BYTES=64 KiB", "max_body_bytes", 65536),
        ("MIN_FREE_BYTES=0", "min_free_bytes", 0),
        ("QUEUE_BYTES=128M", "queue_bytes", 128 * 1024**2),
        ("SPOOL_BYTES=2g", "spool_bytes", 2 * 1024**3),
        ("SPOOL_BYTES=512b", "spool_bytes", 512),
        ("CORS_ORIGINS=*", "cors_origins", ("*",)),
        ("CORS_ORIGINS=https://A.example, http://b:8080", "cors_origins", ("https://a.example", "http://b:8080")),
        ("REQUEST_TIMEOUT=5", "request_timeout_s", 5),
        ("SHUTDOWN_TIMEOUT=0.5", "shutdown_timeout_s", 0.5),
        ("KEEP_ALIVE_TIMEOUT=650", "keep_alive_timeout_s", 650.0),
        ("PROXY_PROTOCOL=off", "proxy_protocol", False),
        ("STATUSES=new", "statuses", (Status("new", "open", "grey"),)),
        (
            "STATUSES= new:open:blue ,call back::amber,sold:won,",
            "statuses",
            (Status("new", "open", "blue"), Status("call back", "open", "amber"), Status("sold", "won", "green")),
        ),
        ("TIME_ZONE=Europe/Riga", "time_zone", TimeZone("Europe/Riga", ZoneInfo("Europe/Riga"))),
        ("TIME_ZONE=-03:30", "time_zone", TimeZone("-03:30", timezone(-timedelta(hours=3, minutes=30)))),
        ("TIME_ZONE=UTC", "time_zone", UTC),
        ("COMMIT_TIMEOUT=2.5", "commit_timeout_s", 2.5),
        ("RATE_LIMIT=600/m", "rate_limit", RateLimit(600, 60.0)),
        ("RATE_LIMIT=5/s", "rate_limit", RateLimit(5, 1.0)),
        ("RATE_LIMIT=1/H", "rate_limit", RateLimit(1, 3600.0)),
        ("TRUSTED_PROXIES=10.0.0.0/8, ::1", "trusted_proxies", (ip_network("10.0.0.0/8"), ip_network("::1"))),
        ("INGEST_TOKEN=a$b#c'", "ingest_token", "a$b#c'"),
        ("ADMIN_TOKEN=none", "admin_token", "none"),
        ("METRICS_TOKEN=none", "metrics_token", "none"),
        ("SPOOL=off", "spool", False),
        ("SPOOL=On", "spool", True),
        ("NODE_NAME=lead-1.example", "node_name", "lead-1.example"),
        ("SOURCES_FILE=/etc/leadcrm/sources.toml", "sources_file", Path("/etc/leadcrm/sources.toml")),
        ("SINKS_FILE=/etc/leadcrm/sinks.toml", "sinks_file", Path("/etc/leadcrm/sinks.toml")),
    ],
)
def test_a_good_value_is_accepted(directory: Path, text: str, field: str, value: object) -> None:
    name, _, value_text = text.partition("=")
    config = read(directory, **{name: value_text})
    assert getattr(config, field) == value
    assert config.sources[name] == "environment"


@pytest.mark.parametrize(
    "text",
    [
        "DATABASE_URL=mysql://h/d",
        "DATABASE_URL=postgresql://h/d?sslmod=require",
        "DATABASE_URL=postgresql://h/d?connection_limit=1",
        "HOST=1.2.3",
        "HOST=256.1.1.1",
        "HOST=two words",
        "HOST=http://localhost",
        "PORT=65536",
        "PORT=-1",
        "PORT=http",
        "PORT=3_000",
        "PORT=\u0663",
        "PORT=1.5",
        "LEADCRM_ENV=test",
        "LEADCRM_ENV=Production",
        "LOG_LEVEL=verbose",
        "LOG_LEVEL=warning",
        "DATA_DIR=a\0b",
        "SOURCES_FILE=a\0b",
        "SINKS_FILE=a\0b",
        "WORKERS=0",
        "WORKERS=100000",
        "MAX_BODY_BYTES=0",
        "MAX_BODY_BYTES=1.5M",
        "MAX_BODY_BYTES=lots",
        "MAX_BODY_BYTES=5ib",
        "MIN_FREE_BYTES=-1",
        "QUEUE_BYTES=0",
        "QUEUE_BYTES=1000",
        "SPOOL_BYTES=0",
        "CORS_ORIGINS=https://example.com/",
        "CORS_ORIGINS=example.com",
        "CORS_ORIGINS=*,https://example.com",
        "CORS_ORIGINS=,",
        "REQUEST_TIMEOUT=0",
        "REQUEST_TIMEOUT=601",
        "SHUTDOWN_TIMEOUT=0",
        "SHUTDOWN_TIMEOUT=nan",
        "SHUTDOWN_TIMEOUT=inf",
        "SHUTDOWN_TIMEOUT=-1",
        "SHUTDOWN_TIMEOUT=1e3",
        "SHUTDOWN_TIMEOUT=4000",
        "KEEP_ALIVE_TIMEOUT=0",
        "KEEP_ALIVE_TIMEOUT=3601",
        "PROXY_PROTOCOL=maybe",
        "STATUSES=called",
        "STATUSES=new,new",
        "STATUSES=new,called:maybe",
        "STATUSES=new,called:open:pink",
        "STATUSES=new,called:open:red:x",
        "STATUSES=new,:won",
        "TIME_ZONE=Riga",
        "TIME_ZONE=Europe",
        "TIME_ZONE=../etc/passwd",
        "TIME_ZONE=+2:00",
        "TIME_ZONE=+25:00",
        "PROXY_PROTOCOL=on",
        "COMMIT_TIMEOUT=0",
        "COMMIT_TIMEOUT=0.0000001",
        "COMMIT_TIMEOUT=0.09",
        "REQUEST_TIMEOUT=0.0000001",
        "COMMIT_TIMEOUT=2.6",
        "RATE_LIMIT=600",
        "RATE_LIMIT=0/s",
        "RATE_LIMIT=5/d",
        "RATE_LIMIT=none",
        "TRUSTED_PROXIES=10.0.0.1/8",
        "TRUSTED_PROXIES=proxy.example",
        "TRUSTED_PROXIES=,",
        "INGEST_TOKEN=two words",
        "INGEST_TOKEN=caf\u00e9",
        "ADMIN_TOKEN=line\nbreak",
        "METRICS_TOKEN=line\nbreak",
        "SPOOL=maybe",
        "REQUIRE_SYNC=maybe",
        "REQUIRE_SYNC=on",  # on SQLite
        "DATABASE_READ_URL=sqlite:///leads.db",
        "DATABASE_READ_URL=postgresql://standby/leadcrm",  # beside SQLite
        "DATABASE_READ_URL=postgresql://standby/leadcrm?max_lag=0",
        "FEED_DAYS=0",
        "AUDIT_DAYS=0",
        "NODE_NAME=one two",
        f"NODE_NAME={'n' * 254}",
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_its_variable(directory: Path, text: str) -> None:
    name, _, value_text = text.partition("=")
    assert refusal(directory, {name: value_text}).variable == name


def test_a_standby_has_the_tables_of_its_primary_and_its_file_is_read_again(directory: Path) -> None:
    (directory / "standby").write_text("'postgresql://app:old@pg1,pg2/leadcrm?max_lag=30&connection_limit=4'")
    environ = {"DATABASE_URL": "postgres://pg1/leadcrm?schema=sales", "DATABASE_READ_URL_FILE": "standby"}
    standby = load({}, environ, directory).standby
    assert standby is not None
    assert (standby.schema, standby.max_lag_s, standby.connection_limit) == ("sales", 30, 4)
    assert "target_session_attrs=standby" in standby.dsn
    (directory / "standby").write_text("postgresql://app:new@pg1,pg2/leadcrm")
    assert "password=new" in standby.current().dsn
    assert standby.current().schema == "sales"


@pytest.mark.parametrize(
    "text", ["postgresql://pg2/leadcrm?schema=other", "postgresql://pg2/leadcrm?connection_limit=1"]
)
def test_a_standby_that_cannot_serve_the_primarys_readers_is_refused(directory: Path, text: str) -> None:
    environ = {"DATABASE_URL": "postgres://pg1/leadcrm?schema=sales", "DATABASE_READ_URL": text}
    assert refusal(directory, environ).variable == "DATABASE_READ_URL"


def test_every_variable_has_an_example_in_this_file() -> None:
    text = Path(__file__).read_text()
    without_an_example = {variable.name for variable in VARIABLES if f'"{variable.name}=' not in text}
    assert without_an_example == set()


@pytest.mark.parametrize(
    ("environ", "environment"),
    [
        ({"NODE_ENV": "development"}, "development"),
        ({"NODE_ENV": "production"}, "production"),
        ({"NODE_ENV": "test"}, "production"),
        ({"NODE_ENV": "development", "LEADCRM_ENV": "production"}, "production"),
        ({"NODE_ENV": "production", "LEADCRM_ENV": "development"}, "development"),
    ],
)
def test_node_env_is_read_where_leadcrm_env_is_unset(
    directory: Path, environ: dict[str, str], environment: str
) -> None:
    assert load({}, environ, directory).environment == environment
    (directory / ".env").write_text("".join(f"{name}={text}\n" for name, text in environ.items()))
    assert read(directory).environment == environment


def test_the_default_data_directory_is_the_first_one_from_systemd(directory: Path) -> None:
    config = read(directory, STATE_DIRECTORY="/var/lib/leadcrm:/var/lib/other")
    assert config.data_dir == Path("/var/lib/leadcrm")
    assert config.database.path == Path("/var/lib/leadcrm/leadcrm.db")
    assert read(directory, STATE_DIRECTORY="/var/lib/leadcrm", DATA_DIR="x").data_dir == directory / "x"


def test_a_relative_sqlite_path_starts_from_the_working_directory(directory: Path) -> None:
    assert read(directory, DATABASE_URL="sqlite:///leads.db").database.path == directory / "leads.db"


def test_a_password_with_dollar_signs_is_read_from_dotenv_unchanged(directory: Path) -> None:
    (directory / ".env").write_text(
        'DATABASE_URL="postgresql://u:a$b${HOME}c$$d@h/d?schema=public"\nADMIN_TOKEN=$HOME\n'
    )
    config = load({}, {"HOME": "/root"}, directory)
    assert "a$b${HOME}c$$d" in config.database.dsn
    assert config.admin_token == "$HOME"
    assert config.sources["DATABASE_URL"] == ".env"


def test_dotenv_may_begin_with_a_byte_order_mark(directory: Path) -> None:
    (directory / ".env").write_bytes(b"\xef\xbb\xbfPORT=4000\n")
    assert read(directory).port == 4000


@pytest.mark.parametrize("content", [b"PORT=4000\n'quoted = 1\n", b"PORT=\xff\n"])
def test_a_malformed_dotenv_is_refused(directory: Path, content: bytes) -> None:
    (directory / ".env").write_bytes(content)
    assert refusal(directory, {}).variable == ".env"


def test_a_dotenv_that_is_a_directory_is_refused(directory: Path) -> None:
    (directory / ".env").mkdir()
    assert "cannot be read" in refusal(directory, {}).fault


def test_a_bad_value_is_quoted_without_its_line_breaks(directory: Path) -> None:
    assert r"'4\n2\x1b[2J'" in str(refusal(directory, {"PORT": "4\n2\x1b[2J"}))


def test_a_queue_smaller_than_a_body_is_refused(directory: Path) -> None:
    error = refusal(directory, {"MAX_BODY_BYTES": "10M", "QUEUE_BYTES": "5M"})
    assert error.variable == "QUEUE_BYTES"
    assert "MAX_BODY_BYTES" in error.fault


def test_a_configuration_can_be_sent_to_another_process(directory: Path) -> None:
    config = read(directory, DATABASE_URL="postgresql://u:s3cret@h/d", RATE_LIMIT="1/s")
    assert pickle.loads(pickle.dumps(config)) == config


def test_an_error_can_be_sent_to_another_process(directory: Path) -> None:
    error = refusal(directory, {"PORT": "x"})
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_configuration_cannot_be_changed(directory: Path) -> None:
    with pytest.raises(AttributeError):
        read(directory).port = 1  # type: ignore[misc]


def test_flags_are_named_after_the_variables_and_take_only_files_of_tokens() -> None:
    flags = {variable.name: variable.flag for variable in VARIABLES}
    assert flags["DATABASE_URL"] == "--database-url"
    assert flags["MAX_BODY_BYTES"] == "--max-body-bytes"
    assert flags["ADMIN_TOKEN"] == "--admin-token-file"
    assert flags["INGEST_TOKEN"] == "--ingest-token-file"
    assert len(set(flags.values())) == len(VARIABLES)


def test_every_default_that_is_a_value_is_accepted_as_one(directory: Path) -> None:
    phrases = {"none", "host name", "SQLite file in DATA_DIR"}
    for variable in VARIABLES:
        if variable.default not in phrases:
            variable.parse(variable.default, directory)


def test_the_example_lists_exactly_the_variables_with_their_defaults() -> None:
    listed = dict(re.findall(r"^#([A-Z_]+)=(.*)$", DOTENV_EXAMPLE.read_text(), re.MULTILINE))
    assert list(listed) == [variable.name for variable in VARIABLES]
    for variable in VARIABLES:
        if variable.default not in {"none", "host name", "SQLite file in DATA_DIR"}:
            assert listed[variable.name] == variable.default


def test_the_example_changes_nothing_until_its_lines_are_uncommented(directory: Path) -> None:
    text = DOTENV_EXAMPLE.read_text()
    (directory / ".env").write_text(text)
    assert set(read(directory).sources.values()) == {"default"}
    (directory / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    config = read(directory)
    assert config.database.schema == "public"
    assert config.rate_limit == RateLimit(600, 60.0)


def test_the_environment_of_the_process_is_not_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PORT", "4000")
    assert read(directory).port == 3000
