"""The tokens and sessions that a worker knows: all of them, read from the database again while somebody asks.

A request costs one look into memory. A token that was revoked opens nothing after `USABLE_S`, on every worker. A new
one opens at once, since an unknown one is looked for again. While the database is away, what is known holds for
`HOLDS_S`: no longer, so that a node that is cut off does not go on for ever with what was revoked elsewhere.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from leadcrm.crm.tokens import BrowserSession, Keys, Token, digest, read_keys
from leadcrm.errors import StoreUnavailable
from leadcrm.web.crm.readers import Readers

FRESH_S = 1.0
"""How old what is known may be without being read again."""

USABLE_S = 4.0
"""How old it may be while it is being read again."""

HOLDS_S = 300.0
"""How old it may be while it cannot be read."""

RETRY_S = 2.0
"""How long nobody waits for the database again after it could not be read."""

LEAST_INTERVAL_S = 0.2
"""Between two readings, however many unknown tokens come."""


class Keyring:
    """For the event loop alone; the readers' threads read."""

    def __init__(self, readers: Readers) -> None:
        """Know nothing yet."""
        self._readers = readers
        self._keys = Keys({}, {})
        self._read_at = self._failed_at = self._begun_at = -HOLDS_S
        self._reading: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Read again before the next answer: this worker has changed something."""
        self._read_at = -HOLDS_S
        self._reading = None

    async def find_token(self, secret: str) -> Token | None:
        """Return a token, in force or not.

        Raises:
            StoreUnavailable: It is not known, and the database cannot be read.
        """
        key = digest(secret)
        keys = await self._recent()
        return keys.tokens.get(key) or (await self._newest()).tokens.get(key)

    async def find_session(self, secret: str) -> tuple[BrowserSession, Token | None] | None:
        """Return a session with its token, if that is not ADMIN_TOKEN.

        Raises:
            StoreUnavailable: It is not known, and the database cannot be read.
        """
        key = digest(secret)
        keys = await self._recent()
        if key not in keys.sessions:
            keys = await self._newest()
        found = keys.sessions.get(key)
        return None if found is None else (found, keys.token(found.token_id))

    async def _recent(self) -> Keys:
        """Return what is known, if it is not too old."""
        age_s = monotonic() - self._read_at
        if age_s < FRESH_S:
            return self._keys
        reading = self._read()
        if age_s < USABLE_S or (age_s < HOLDS_S and monotonic() - self._failed_at < RETRY_S):
            return self._keys
        try:
            await asyncio.shield(reading)
        except StoreUnavailable:
            if age_s >= HOLDS_S:
                raise
        return self._keys

    async def _newest(self) -> Keys:
        """Return what is so now.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        asked_at = monotonic()
        while self._read_at < asked_at:
            await asyncio.shield(self._read())
        return self._keys

    def _read(self) -> asyncio.Task[None]:
        """Begin to read, unless somebody has."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read_now())
            # Retrieve the exception so asyncio does not log it; whoever waits gets it.
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._reading

    async def _read_now(self) -> None:
        own = asyncio.current_task()
        try:
            await asyncio.sleep(max(0.0, self._begun_at + LEAST_INTERVAL_S - monotonic()))
            self._begun_at = begun_at = monotonic()
            keys = await self._readers.run(read_keys)
            if self._reading is own:
                self._keys, self._read_at = keys, begun_at
        except StoreUnavailable:
            self._failed_at = monotonic()
            raise
        finally:
            if self._reading is own:
                self._reading = None
