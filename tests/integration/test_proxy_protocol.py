"""The PROXY protocol: the client's address as HAProxy tells it before the first request, and what is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcrm.web.http.proxy_protocol import ProxyHeader, read_proxy_header
from tests.conftest import StartServer, server_starter
from tests.support.conversation import Conversation, lead_request
from tests.support.server import Server
from tests.support.waiting import wait_until

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([203, 0, 113, 7, 10, 0, 0, 1]) + b"\x01\xbb\x0b\xb8"
IPV6 = SIGNATURE + b"\x21\x21\x00\x24" + bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(16) + b"\x01\xbb\x0b\xb8"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
HEADERS = {
    b"PROXY TCP4 203.0.113.7 10.0.0.1 443 3000\r\n": "203.0.113.7",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 443 3000\r\n": "2001:db8::7",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": None,
    IPV4: "203.0.113.7",
    IPV4[:15] + b"\x10" + IPV4[16:] + b"\x04\x00\x01x": "203.0.113.7",
    IPV6: "2001:db8::7",
    LOCAL: None,
}
MALFORMED = [
    b"PROXY TCP4 203.0.113.7\r\n",
    b"PROXY TCP4 999.0.113.7 10.0.0.1 443 3000\r\n",
    b"PROXY TCP5 203.0.113.7 10.0.0.1 443 3000\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 443 3000\n",
    b"PROXY " + b"x" * 200,
    SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x2f\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
    SIGNATURE + b"\x21\x11\xff\xff" + bytes(12),
]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server behind a proxy on this machine and one at 203.0.113.7."""
    start: StartServer
    for start in server_starter(request.node, tmp_path_factory.mktemp("proxies")):
        yield start(environment={"PROXY_PROTOCOL": "on", "TRUSTED_PROXIES": "127.0.0.1, 203.0.113.9"})


def address_of_lead(server: Server, *parts: bytes) -> str:
    """Send the parts, each once the one before was read; return the address that is kept with the lead."""
    with Conversation(server.client) as connection:
        for part in parts:
            connection.send(part)
        answer = connection.answer()
    assert (answer.status, answer.receipt is not None) == (201, True)
    return str(server.embedded_rows().raw_row(answer.json()["lead_id"])["remote_addr"])


@pytest.mark.parametrize("header", HEADERS)
def test_the_address_in_the_header_is_the_clients(server: Server, header: bytes) -> None:
    expected = HEADERS[header] or "127.0.0.1"
    assert address_of_lead(server, header + lead_request(b"{}")) == expected
    assert address_of_lead(server, *(header[at : at + 1] for at in range(len(header))), lead_request(b"{}")) == expected


def test_a_connection_without_the_header_is_answered_too(server: Server) -> None:
    assert address_of_lead(server, lead_request(b"{}")) == "127.0.0.1"
    assert address_of_lead(server, b"\r\n", lead_request(b"{}")) == "127.0.0.1"
    assert server.client.get("/health").status == 200


def test_every_request_of_the_connection_has_the_address_and_forwarded_ones_count_behind_trusted_proxies(
    server: Server,
) -> None:
    with Conversation(server.client) as connection:
        connection.send(b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n")
        kept = []
        for forwarded in ((), ((b"X-Forwarded-For", b"198.51.100.4"),)):
            connection.send(lead_request(b"{}", *forwarded))
            kept.append(connection.answer().json()["lead_id"])
    rows = server.embedded_rows()
    assert [rows.raw_row(identifier)["remote_addr"] for identifier in kept] == ["203.0.113.9", "198.51.100.4"]


@pytest.mark.parametrize("header", MALFORMED)
def test_a_malformed_header_closes_the_connection_without_an_answer(server: Server, header: bytes) -> None:
    with Conversation(server.client) as connection:
        connection.send(header + lead_request(b"{}"))
        assert connection.rest() == b""
    wait_until(lambda: any("malformed PROXY header" in record["msg"] for record in server.log_records()))


@pytest.mark.parametrize("environment", [{}, {"PROXY_PROTOCOL": "on", "TRUSTED_PROXIES": "10.0.0.0/8"}])
def test_nobody_else_may_tell_an_address(start_server: StartServer, environment: dict[str, str]) -> None:
    server = start_server(environment=environment)
    with Conversation(server.client) as connection:
        connection.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 443 3000\r\n" + lead_request(b"{}"))
        assert connection.answer().status == 400
    assert server.embedded_rows().raw() == []


@given(st.binary(max_size=40) | st.sampled_from([*HEADERS, *MALFORMED]), st.binary(max_size=8))
def test_any_first_bytes_are_a_header_or_none_or_malformed(begun: bytes, more: bytes) -> None:
    try:
        header = read_proxy_header(begun + more)
    except ValueError:
        return
    if header is None:
        assert len(begun + more) < 2048
    elif header == ProxyHeader(0, None):
        assert not (begun + more).startswith((b"PROXY ", SIGNATURE))
    else:
        assert 0 < header.size <= len(begun + more)
