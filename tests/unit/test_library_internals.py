"""The parts of libraries that are not their documented API, where leadcrm relies on them, and the versions checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = (ROOT / "requirements.txt").read_text()


class Library(NamedTuple):
    """A library at the version that its internals were checked for.

    Args:
        version: as `requirements.txt` pins it.
        internals: by file, the names that leadcrm overrides, calls or sets there.
    """

    version: str
    internals: Mapping[str, tuple[str, ...]]


LIBRARIES = {
    "sanic": Library(
        "25.12.1",
        {
            # Overrides how a connection ends: at a stop, when the sender stops or stalls, and before the end of a body;
            # and how a burst of data is read.
            "leadcrm/web/http/protocol.py": (
                "HTTP_CLASS",
                "_data_received",
                "recv_buffer",
                "receive_more",
                "close_if_idle",
                "Stage.IDLE",
                "Stage.REQUEST",
                "self._time",
                "self.conn_info",
                "_can_write",
                "def close(",
            ),
            # Overrides how a head and a chunk are read.
            "leadcrm/web/http/strict_http.py": (
                "http1_request_header",
                "http1_response_header",
                "recv_buffer",
                "request_body",
                "request_bytes_left",
                "expecting_continue",
                "_receive_more",
                "_send",
            ),
            # Sets all attributes of a response itself, without the framework's own __init__.
            "leadcrm/web/http/responses.py": ("asgi", "stream", "_cookies", "processed_headers"),
            # Runs the server itself, and notes it where the framework notes only servers that it started.
            "leadcrm/web/worker.py": (
                "server_info",
                "ApplicationServerInfo",
                "connections",
                "KEEP_ALIVE",
                "after_stop",
            ),
            # Reads the body piece by piece under a limit of its own, and the key from the head as it came.
            "leadcrm/web/ingest.py": ("request_max_size", "request.head"),
            "leadcrm/web/http/body.py": ("request_body", "request_bytes_left", "stream.read()"),
            "leadcrm/web/crm/api.py": ("request_max_size", "request_bytes_left", "request.body ="),
            # Does not read bodies before handlers run.
            "leadcrm/web/http/bodiless.py": ("receive_body",),
            # REQUEST_MAX_SIZE limits the head too.
            "leadcrm/web/app.py": ("REQUEST_MAX_SIZE", "request_class"),
            # Tells too large a head by the text of its exception, and finds the methods of a path in the router.
            "leadcrm/web/errors.py": ('"header" in str(exception)', "router.get"),
            # Takes over the handlers and levels that the framework gives its loggers.
            "leadcrm/logs/setup.py": ("sanic.root", "sanic.error", "sanic.server", "sanic.websockets", "sanic.access"),
            # Ships the source of the modules whose methods the framework rewrites when it starts.
            "leadcrm.spec": ("sanic.app", "sanic.http.http1", "sanic.server.protocols.http_protocol"),
        },
    ),
    "pony": Library(
        "0.7.20",
        {
            # Replaces the converter of times, drops the results that a session keeps, gives each connection arguments
            # of its own, opens one to SQLite at a time, and forbids Pony to connect anew within a transaction and to
            # discard the state of a pooler's session.
            "leadcrm/database/sessions.py": (
                "SQLiteDatetimeConverter",
                "SQLitePool",
                "converter_classes",
                "timestamp2datetime",
                "_get_cache",
                "query_results",
                "in_transaction",
                "should_reconnect",
                "PGPool",
                "PGProvider",
                "get_pool",
                "release",
                "_connect",
                "self.con",
                "dbapi_module",
            ),
            # Unwraps the driver's error.
            "leadcrm/database/driver_errors.py": ("original_exc",),
            "leadcrm/logs/errors.py": ("original_exc",),
        },
    ),
    "psycopg2-binary": Library(
        "2.9.13",
        {
            # Waits in place of the driver, for Pony's connections by a callback and for leadcrm's by asynchronous ones.
            # A broken connection is recognized by an OperationalError without a code.
            "leadcrm/database/postgres.py": (
                "set_wait_callback",
                "STATUS_SETUP",
                "POLL_OK",
                "async_=True",
                "isexecuting",
                "pgcode is None",
            ),
            # Polls an asynchronous connection itself, so that the event loop can wait in between.
            "leadcrm/ingest/store/postgres.py": ("poll()", "POLL_OK", "POLL_READ"),
        },
    ),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_internals_of_a_library_were_checked_for_the_pinned_version(name: str) -> None:
    library = LIBRARIES[name]
    (pinned,) = re.findall(rf"^{re.escape(name)}==(\S+)$", REQUIREMENTS, re.MULTILINE)
    assert pinned == library.version, (
        f"leadcrm relies on internals of {name} that were last checked for {library.version}, and {pinned} is pinned. "
        f"Read the changes of {name} since then against {', '.join(library.internals)}, then note {pinned} here."
    )


@pytest.mark.parametrize(
    ("file", "names"), [entry for library in LIBRARIES.values() for entry in library.internals.items()]
)
def test_the_list_of_internals_is_up_to_date(file: str, names: tuple[str, ...]) -> None:
    text = (ROOT / file).read_text()
    assert [name for name in names if name not in text] == []
