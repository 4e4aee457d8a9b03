"""`DATABASE_URL` in the dialects of libpq, Prisma and SQLite."""

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
    """Return the keywords that libpq gets, without the timeout, which is always among them."""
    found = parse_dsn(parse(text).dsn)
    found.pop("connect_timeout")
    return found


def fault(text: str) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is what the tests compare
        parse(text)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


def test_a_url_of_the_original_service_works_unchanged() -> None:
    url = parse("postgresql://user:password@localhost:5432/leadcrm?schema=public&connection_limit=10")
    assert url.provider == "postgres"
    assert url.path is None
    assert (url.schema, url.connection_limit) == ("public", 10)
    assert parse_dsn(url.dsn) == {
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
    assert url.connection_limit is None
    assert url.pool_timeout_s == 10.0
    assert url.connect_timeout_s == 2
    assert url.pgbouncer is False


def test_prismas_pool_parameters_are_applied_and_not_passed_to_libpq() -> None:
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


def test_prismas_sslcert_becomes_libpqs_sslrootcert() -> None:
    sent = keywords("postgresql://h/d?sslmode=require&sslcert=./server-ca.pem")
    assert sent["sslrootcert"] == "/srv/leads/server-ca.pem"
    assert "sslcert" not in sent


def test_a_client_certificate_with_its_key_is_passed_on() -> None:
    sent = keywords("postgresql://h/d?sslcert=client.pem&sslkey=client.key&sslpassword=hidden")
    assert (sent["sslcert"], sent["sslkey"], sent["sslpassword"]) == ("client.pem", "client.key", "hidden")


def test_sslaccept_strict_verifies_the_certificate_and_the_host() -> None:
    sent = keywords("postgresql://h/d?sslmode=require&sslaccept=strict&sslcert=/ca.pem")
    assert (sent["sslmode"], sent["sslrootcert"]) == ("verify-full", "/ca.pem")
    assert keywords("postgresql://h/d?sslaccept=strict")["sslrootcert"] == "system"


def test_accepting_invalid_certificates_drops_the_root_certificate() -> None:
    sent = keywords("postgresql://h/d?sslmode=require&sslaccept=accept_invalid_certs&sslcert=/ca.pem")
    assert sent == {"host": "h", "dbname": "d", "sslmode": "require"}


def test_parameters_of_libpq_are_passed_on() -> None:
    sent = keywords(
        "postgresql://h/d?target_session_attrs=read-write&sslrootcert=/ca.pem&keepalives_idle=5"
        "&application_name=lead%20crm&options=-c%20statement_timeout%3D5s&channel_binding=require"
    )
    assert sent["target_session_attrs"] == "read-write"
    assert sent["sslrootcert"] == "/ca.pem"
    assert sent["keepalives_idle"] == "5"
    assert sent["application_name"] == "lead crm"
    assert sent["options"] == "-c statement_timeout=5s"
    assert sent["channel_binding"] == "require"


def test_several_hosts_keep_their_ports() -> None:
    sent = keywords("postgresql://u@one:5432,two:5433,three/d?target_session_attrs=any")
    assert (sent["host"], sent["port"]) == ("one,two,three", "5432,5433,")
    assert parse("postgresql://u@one:5432,two:5433/d").redacted.startswith("postgresql://u@one:5432,two:5433/d")


def test_an_ipv6_host_is_shown_with_brackets() -> None:
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
def test_a_socket_directory_can_be_the_host(text: str) -> None:
    assert keywords(text) == {"user": "u", "host": "/var/run/postgresql", "dbname": "d"}


def test_percent_encoding_is_decoded() -> None:
    sent = keywords("postgresql://lead%40crm:p%40ss%2Fw%3Ard%25@h/d%20b")
    assert (sent["user"], sent["password"], sent["dbname"]) == ("lead@crm", "p@ss/w:rd%", "d b")


def test_a_plus_stays_a_plus() -> None:
    assert keywords("postgresql://u:a+b@h/d?application_name=c+d")["application_name"] == "c+d"
    assert keywords("postgresql://u:a+b@h/d")["password"] == "a+b"


def test_an_unencoded_at_sign_in_a_password_is_accepted_as_by_prisma() -> None:
    sent = keywords("postgresql://u:p@ss@h:5432/d")
    assert (sent["user"], sent["password"], sent["host"]) == ("u", "p@ss", "h")


@pytest.mark.parametrize("mark", ['"', "'"])
def test_quotes_around_a_url_are_removed(mark: str) -> None:
    assert parse(f"{mark}postgresql://u:p@h/d?schema=crm{mark}").schema == "crm"


def test_the_last_of_a_repeated_parameter_counts() -> None:
    assert parse("postgresql://h/d?schema=one&schema=two").schema == "two"


def test_ssl_true_becomes_sslmode_require() -> None:
    assert keywords("postgresql://h/d?ssl=true")["sslmode"] == "require"


@pytest.mark.parametrize(
    ("text", "quoted"),
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
        ("postgresql://u:hid?den@h/d", "percent"),
        ("postgresql://h/d?schema=a%25b", "schema holds a %"),
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
def test_a_wrong_url_is_refused_with_the_part_that_is_wrong(text: str, quoted: str) -> None:
    error = fault(text)
    assert quoted in error
    assert "\n" not in error
    assert not any(part in error for part in ("hid", "den@", "123"))


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


def test_redaction_keeps_everything_but_the_password() -> None:
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
def test_a_password_in_any_place_is_redacted(text: str) -> None:
    url = parse(text)
    assert url.has_password
    for text_of_url in (url.redacted, repr(url), str(url), f"{url!r:>10}"):
        assert "s3cret" not in text_of_url
    assert "***" in url.redacted


def test_a_url_without_a_password_says_so() -> None:
    assert not parse("postgresql://u@h/d").has_password


MARK = "Zq7"
# The mark at both ends occurs in no other part of a URL or a message, so any piece of the password is noticed.
hostile_passwords = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: f"{MARK}{text}{MARK}")
punctuation = st.text("@:/?#%&='\" \\[]$,x5", max_size=12).map(lambda text: f"{MARK}{text}{MARK}")


@given(hostile_passwords.filter(lambda text: "\0" not in text))
def test_an_encoded_password_is_passed_on_whole_and_redacted(password: str) -> None:
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
def test_a_password_without_encoding_appears_in_no_error_and_no_repr(password: str, form: str) -> None:
    if form == "{}@":
        form = "u:{}@"
    text = "postgresql://" + form.replace("{}", password)
    try:
        output = repr(parse(text))
    except ValueError as error:
        output = f"{error} {error.__cause__}"
    assert MARK not in output
