"""The numbered versions of a file's text, in the database: each that took effect, its time and hash."""

from __future__ import annotations

from typing import Any

from pony.orm import flush, max

from leadcrm.database.clock import now_utc
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import StoreUnavailable, SubmissionRefused

ATTEMPTS = 5
"""Another node may take the next number at the same time."""


def version_of(entities: Entities, versions: Any, sha256: bytes, text: str) -> int:
    """Return the version of a text, which is added if it is new. Durable on return.

    Args:
        entities: The bound database.
        versions: The entity of the file's versions.
        sha256: By which the text is known.
        text: What is kept of it.

    Raises:
        StoreUnavailable: The database cannot be used now.
    """
    for _ in range(ATTEMPTS):
        try:
            with session(entities, writes=True):
                known = versions.get(sha256=sha256)
                if known is not None:
                    return int(known.version)
                version = 1 + (max(row.version for row in versions) or 0)
                versions(version=version, taken_at=now_utc(), sha256=sha256, text=text)
                flush()
                return version
        except SubmissionRefused:
            continue
    raise StoreUnavailable("rival versions of a file's text keep taking the number")
