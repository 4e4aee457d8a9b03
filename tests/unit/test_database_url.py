"""`DATABASE_URL` in every form that libpq, Prisma and SQLite's users write."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn

from leadcrm.configuration.database_url import UNLIMITED_CONNECT_TIMEOUT_S, DatabaseURL, parse_database_url

BASE = Path("/srv/leads")


def parse(text: str) -> DatabaseURL:
    return parse_database_url(text, base=BASE)


def keywords(text: str) -> dict[str, str]:
    """What libpq is told, less the timeout that is always there."""
    told = parse_dsn(parse(text).dsn)
    told.pop("connect_timeout")
    return told


def fault(text: str) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is what the tests compare
        parse(text)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


def test_the_original_services_url_works_as_it_is() -> None:
    url = parse("postgresql://user:password@localhost:5432/leadcrm?schema=public&connection_limit=10")
    assert url.provider == "postgres"
    assert url.path is None
    assert (url.schema, url.connection_limit) == ("public", 10)
    told = parse_dsn(url.dsn)
    assert told == {
        "user": "user",
        "password": "password",
        "host": "localhost",
        "port": "5432",
        "dbname": "leadcrm",
        "connect_timeout": "2",
    }


def test_a_url_without_parameters_has_the_defaults() -> None:
    url = parse("postgres://localhost/leads")
    assert url.schema is None
    assert url.connection_limit == 5
    assert url.pool_timeout_s == 10.0
    assert url.connect_timeout_s == 2
    assert url.pgbouncer is False


def test_prismas_pool_parameters_are_understood_and_kept_from_libpq() -> None:
    text = (
        "postgresql://u:p@h/d?pgbouncer=true&pool_timeout=7&connect_timeout=4&connection_limit=1&socket_timeout=9"
        "&statement_cache_size=0&max_connection_lifetime=60&max_idle_connection_lifetime=30"
    )
    url = parse(text)
    assert (url.pgbouncer, url.pool_timeout_s, url.connect_timeout_s, url.connection_limit) == (True, 7.0, 4, 1)
    assert keywords(text) == {"user": "u", "password": "p", "host": "h", "dbname": "d"}
    assert parse_dsn(url.dsn)["connect_timeout"] == "4"


def test_prismas_zero_means_no_limit() -> None:
    url = parse("postgresql://h/d?pool_timeout=0&connect_timeout=0")
    assert url.pool_timeout_s == threading.TIMEOUT_MAX
    assert url.connect_timeout_s == UNLIMITED_CONNECT_TIMEOUT_S


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_every_sslmode_reaches_libpq(mode: str) -> None:
    assert keywords(f"postgresql://h/d?sslmode={mode}")["sslmode"] == mode


def test_prismas_certificate_of_the_authority_becomes_libpqs_root_certificate() -> None:
    told = keywords("postgresql://h/d?sslmode=require&sslcert=./server-ca.pem")
    assert told["sslrootcert"] == "/srv/leads/server-ca.pem"
    assert "sslcert" not in told


def test_a_client_certificate_with_its_key_stays_libpqs() -> None:
    told = keywords("postgresql://h/d?sslcert=client.pem&sslkey=client.key&sslpassword=hidden")
    assert (told["sslcert"], told["sslkey"], told["sslpassword"]) == ("client.pem", "client.key", "hidden")


def test_strict_acceptance_verifies_the_certificate_and_the_host() -> None:
    told = keywords("postgresql://h/d?sslmode=require&sslaccept=strict&sslcert=/ca.pem")
    assert (told["sslmode"], told["sslrootcert"]) == ("verify-full", "/ca.pem")
    assert keywords("postgresql://h/d?sslaccept=strict")["sslrootcert"] == "system"


def test_accepting_invalid_certificates_leaves_the_authority_out() -> None:
    told = keywords("postgresql://h/d?sslmode=require&sslaccept=accept_invalid_certs&sslcert=/ca.pem")
    assert told == {"host": "h", "dbname": "d", "sslmode": "require"}


def test_libpqs_own_parameters_are_passed_on() -> None:
    told = keywords(
        "postgresql://h/d?target_session_attrs=read-write&sslrootcert=/ca.pem&keepalives_idle=5"
        "&application_name=lead%20crm&options=-c%20statement_timeout%3D5s&channel_binding=require"
    )
    assert told["target_session_attrs"] == "read-write"
    assert told["sslrootcert"] == "/ca.pem"
    assert told["keepalives_idle"] == "5"
    assert told["application_name"] == "lead crm"
    assert told["options"] == "-c statement_timeout=5s"
    assert told["channel_binding"] == "require"


def test_several_hosts_keep_their_ports() -> None:
    told = keywords("postgresql://u@one:5432,two:5433,three/d?target_session_attrs=any")
    assert (told["host"], told["port"]) == ("one,two,three", "5432,5433,")
    assert parse("postgresql://u@one:5432,two:5433/d").redacted.startswith("postgresql://u@one:5432,two:5433/d")


def test_an_ipv6_host_keeps_its_brackets_in_sight() -> None:
    assert keywords("postgresql://[::1]:5433/d") == {"host": "::1", "port": "5433", "dbname": "d"}
    assert parse("postgresql://[::1]:5433/d").redacted.startswith("postgresql://[::1]:5433/d")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@%2Fvar%2Frun%2Fpostgresql/d",
        "postgresql://u@/d?host=/var/run/postgresql",
        "postgresql://u@localhost/d?host=/var/run/postgresql",
    ],
)
def test_a_socket_directory_is_a_host(text: str) -> None:
    assert keywords(text) == {"user": "u", "host": "/var/run/postgresql", "dbname": "d"}


def test_percent_encoding_means_what_it_says() -> None:
    told = keywords("postgresql://lead%40crm:p%40ss%2Fw%3Ard%25@h/d%20b")
    assert (told["user"], told["password"], told["dbname"]) == ("lead@crm", "p@ss/w:rd%", "d b")


def test_a_plus_stays_a_plus() -> None:
    assert keywords("postgresql://u:a+b@h/d?application_name=c+d")["application_name"] == "c+d"
    assert keywords("postgresql://u:a+b@h/d")["password"] == "a+b"


def test_an_at_sign_in_a_password_is_forgiven_as_prisma_forgives_it() -> None:
    told = keywords("postgresql://u:p@ss@h:5432/d")
    assert (told["user"], told["password"], told["host"]) == ("u", "p@ss", "h")


@pytest.mark.parametrize("mark", ['"', "'"])
def test_quotes_of_an_env_file_are_taken_off(mark: str) -> None:
    assert parse(f"{mark}postgresql://u:p@h/d?schema=crm{mark}").schema == "crm"


def test_the_last_of_a_repeated_parameter_counts() -> None:
    assert parse("postgresql://h/d?schema=one&schema=two").schema == "two"


def test_what_libpq_calls_ssl_true_is_sslmode_require() -> None:
    assert keywords("postgresql://h/d?ssl=true")["sslmode"] == "require"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("postgresql://h/d?sslmod=require", "'sslmod'"),
        ("postgresql://h/d?SSLMODE=require", "'SSLMODE'"),
        ("postgresql://h/d?sslmode=required", "sslmode"),
        ("postgresql://h/d?sslaccept=maybe", "sslaccept"),
        ("postgresql://h/d?sslidentity=client.p12&sslpassword=hidden", "sslidentity"),
        ("postgresql://h/d?pgbouncer=1", "pgbouncer"),
        ("postgresql://h/d?connection_limit=0", "connection_limit"),
        ("postgresql://h/d?connection_limit=many", "connection_limit"),
        ("postgresql://h/d?pool_timeout=-1", "pool_timeout"),
        ("postgresql://h/d?connect_timeout=2.5", "connect_timeout"),
        ("postgresql://h/d?schema=", "schema"),
        (f"postgresql://h/d?schema={'s' * 64}", "schema"),
        ("postgresql://h/d?schema", "name=value"),
        ("postgresql://h:0/d", "port"),
        ("postgresql://h:99999/d", "port"),
        ("postgresql://h:five/d", "port"),
        ("postgresql://a,b:1,c:2,d/e?port=1,2", "4 hosts and 2 ports"),
        ("postgresql://h/d?dbname=postgresql://u:hidden%40h/d", "connection string"),
        ("postgresql://h/d%", "percent"),
        ("postgresql://h/d?options=%zz", "percent"),
        ("postgresql://h/d?options=%ff", "UTF-8"),
        ("postgresql://[::1/d", "cannot be read"),
        ("postgresql://u:hid den@h/d", "blanks"),
        ("postgresql://u:hid\nden@h/d", "blanks"),
        ("postgresql://u:hid\udce9den@h/d", "blanks"),
        ("postgresql://u:hid?den@h/d", "percent-encoded"),
        ("postgresql://u:hid#den@h/d", "percent-encoded"),
        ("postgresql://u:hid/den@h/d", "percent-encoded"),
        ("postgresql://u:123/den@h/d", "percent-encoded"),
        ("postgresql://u:12?hidden=/x@h/d", "(not shown)"),
        ("postgresql://u:%hid%den@h/d", "percent"),
        ("mysql://u:hidden@h/d", "begins with"),
        ("file:./dev.db", "no URL"),
        ("hidden", "no URL"),
        ("", "no URL"),
        ("sqlite://hidden/file", "sqlite:///"),
        ("sqlite:///", "names no file"),
        ("sqlite:///directory/", "names no file"),
        ("sqlite:///:memory:", "memory"),
        ("sqlite:///a.db?mode=ro", "parameters"),
        ("sqlite:///a%00.db", "percent"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(text: str, named: str) -> None:
    told = fault(text)
    assert named in told
    assert "\n" not in told
    assert not any(part in told for part in ("hid", "den@", "123"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///leads.db", "/srv/leads/leads.db"),
        ("sqlite:///./a/../leads.db", "/srv/leads/leads.db"),
        ("sqlite:////var/lib/leads.db", "/var/lib/leads.db"),
        ("sqlite:////var/lib/my%20leads%3F.db", "/var/lib/my leads?.db"),
    ],
)
def test_a_sqlite_path_is_relative_to_the_base_or_absolute(text: str, path: str) -> None:
    url = parse(text)
    assert (url.provider, url.path, url.dsn) == ("sqlite", Path(path), "")
    assert not url.has_password


def test_redaction_keeps_what_an_operator_needs() -> None:
    url = parse("postgresql://u:s3cret@h:5432/d?schema=crm&sslmode=require")
    assert url.redacted == "postgresql://u:***@h:5432/d?connect_timeout=2&sslmode=require&schema=crm"
    assert parse("sqlite:////var/leads.db").redacted == "sqlite:////var/leads.db"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:s3cret@h/d",
        "postgresql://u@h/d?password=s3cret",
        "postgresql://u@h/d?user=v&password=s3cret&sslkey=k&sslcert=c&sslpassword=s3cret",
        "postgresql://u@h/d?sslkey=k&sslcert=c&sslpassword=s3cret",
    ],
)
def test_no_form_of_a_password_is_shown(text: str) -> None:
    url = parse(text)
    assert url.has_password
    for shown in (url.redacted, repr(url), str(url), f"{url!r:>10}"):
        assert "s3cret" not in shown
    assert "***" in url.redacted


def test_a_url_without_a_password_has_none() -> None:
    assert not parse("postgresql://u@h/d").has_password


MARK = "Zq7"
# Begins and ends with a mark that no other part of a URL or a message has, so that any piece shows.
hostile_passwords = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: f"{MARK}{text}{MARK}")
punctuation = st.text("@:/?#%&='\" \\[]$,x5", max_size=12).map(lambda text: f"{MARK}{text}{MARK}")


@given(hostile_passwords.filter(lambda text: "\0" not in text))
def test_an_encoded_password_arrives_whole_and_is_never_shown(password: str) -> None:
    for text in (
        f"postgresql://u:{quote(password, safe='')}@h/d",
        f"postgresql://u@h/d?password={quote(password, safe='')}",
    ):
        url = parse(text)
        assert parse_dsn(url.dsn)["password"] == password
        assert MARK not in url.redacted + repr(url)


@given(
    st.one_of(hostile_passwords, punctuation),
    st.sampled_from(["u:{}@h/d", "u:{}@h:5432/d?sslmode=require", "u@h/d?password={}", "u:{}@h/d?sslmod=x", "{}@"]),
)
def test_a_password_written_raw_is_shown_by_no_error_and_no_redaction(password: str, form: str) -> None:
    if form == "{}@":
        form = "u:{}@"
    text = "postgresql://" + form.replace("{}", password)
    try:
        shown = repr(parse(text))
    except ValueError as error:
        shown = f"{error} {error.__cause__}"
    assert MARK not in shown
