"""The sources as they are now: the file's latest text that could be used, its version, and the sources it once had.

A thread looks at the file every so often. A text that cannot be used changes nothing: the one before it stays in force,
the log says why, and so does /ready. The names that the file ever had, with their answers, lie in DATA_DIR too, so that
a source that was taken out answers as before while the database is away.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from leadcrm.configuration.config import Config
from leadcrm.configuration.tables import files_of, signature_of, tables_in
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import bind
from leadcrm.database.slots import ConnectionSlots
from leadcrm.database.versions import version_of
from leadcrm.errors import LeadcrmError, SourcesFault, StoreUnavailable
from leadcrm.sources.catalogue import KEPT_OF_RETIRED, Catalogue, read_catalogue, retired_source
from leadcrm.sources.source import Source
from leadcrm.sources.versions import tables_of_all_versions

LOOK_S = 2.0
"""How often the file is looked at."""

REGISTER_PAUSE_S = 5.0
"""The pause before a version is registered again after the database could not be used."""

SLOT_WAIT_S = 10.0
"""How long the thread waits for a connection to the database."""

SEEN_FILE = "sources-seen.json"

_MAX_SEEN = 10_000

logger = logging.getLogger("leadcrm.sources")


class LiveSources:
    """The sources of one process. Reading them needs no lock: a new catalogue takes the old one's place whole."""

    def __init__(self, config: Config, slots: ConnectionSlots | None = None) -> None:
        """Read the file.

        Args:
            config: The configuration.
            slots: For the connections to PostgreSQL; None if they are not limited.

        Raises:
            SourcesFault: The file cannot be used.
        """
        self._path = path = config.sources_file
        self._seen_path = config.data_dir / SEEN_FILE if config.uses_data_dir else None
        self._database = config.database
        self._slots = slots
        self._files = files_of(path, "source")
        self._signature: tuple[tuple[int, ...], ...] | None = signature_of(self._files)
        self._catalogue = Catalogue() if path is None else read_catalogue(path)
        self._retired: Mapping[str, Source] = {}
        self.version: int | None = None
        """The number of the text in force; None until the database has it."""
        self.fault = ""
        """Why the file's present text is not in force, in words for the operator; empty if it is."""
        self._is_registered = path is None
        self._register_at = 0.0  # monotonic
        self._has_tried = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leadcrm-sources", daemon=True)
        self._retire(self._read_seen())

    @property
    def catalogue(self) -> Catalogue:
        """The text in force."""
        return self._catalogue

    @property
    def retired(self) -> Mapping[str, Source]:
        """The sources that were taken out of the file, by name."""
        return self._retired

    @property
    def sources(self) -> Mapping[str, Source]:
        """The sources of the text in force, by name."""
        return self._catalogue.sources

    def get(self, name: str) -> Source | None:
        """Return a source, also one that was taken out of the file, which is not enabled; None if there never was."""
        return self._catalogue.sources.get(name) or self._retired.get(name)

    def start(self) -> None:
        """Start to look at the file and to register its versions."""
        if self._path is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping.set()

    def _run(self) -> None:
        while True:
            try:
                self.look(registers=True)
                self.learn(SLOT_WAIT_S)
            except Exception:
                text = "the sources could not be looked at"
                logger.exception(text, extra={"action": "sources", "repeat_key": text})
            self._has_tried.set()
            pause_s = LOOK_S if self._is_registered else REGISTER_PAUSE_S
            if self._stopping.wait(pause_s):
                return

    def wait_for_first_attempt(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` until the text in force has its version, or the attempt to get it has failed."""
        if self._path is not None:
            self._has_tried.wait(timeout_s)

    def look(self, *, registers: bool = False) -> None:
        """Take the file's text if it has changed and can be used.

        Args:
            registers: Give it its version first, so that no row lacks it.
        """
        signature = signature_of(self._files)
        if self._path is None or signature == self._signature:
            return
        self._files = files_of(self._path, "source")
        # Of before the reading: a change during it is a change after it. None until the text is in force or known to be
        # at fault: one that could not be read may be readable in a moment, though no file changes.
        self._signature, signature = None, signature_of(self._files)
        try:
            catalogue = read_catalogue(self._path, may_be_empty=not self._catalogue.sources)
        except SourcesFault as fault:
            # Its reasons may quote the text, which /ready must not show to everyone.
            self.fault = "SOURCES_FILE has a fault, the text before it stays in force: `leadcrm sources check`"
            text = "the sources stay as they are: %s"
            logger.warning(text, fault, extra={"action": "sources", "hint": fault.hint, "repeat_key": str(fault)})
            self._signature = None if fault.may_pass else signature
            return
        self.fault = ""
        if catalogue == self._catalogue:
            self._signature = signature
            return
        before = tables_in(self._catalogue.text, "source")
        version = self._number(catalogue) if registers else None
        self._catalogue = catalogue
        self._signature = signature
        self.version = version
        self._is_registered = False
        self._register_at = 0.0
        self._retire({**self._read_seen(), **before})
        logger.info("the sources were read anew", extra={"action": "sources", "sources": len(catalogue.sources)})

    def learn(self, slot_wait_s: float = 0.0) -> None:
        """Register the text in this thread, unless it is or that has just failed. It may block: not for a loop.

        Args:
            slot_wait_s: How long to wait for a connection; who holds one himself must not wait for another.
        """
        if not self._is_registered and monotonic() >= self._register_at:
            self._register_at = monotonic() + REGISTER_PAUSE_S
            self._register(slot_wait_s)

    def _number(self, catalogue: Catalogue) -> int | None:
        """Return a text's version; None while the database cannot be used."""
        try:
            with self._bound(SLOT_WAIT_S) as entities:
                return version_of(entities, entities.source_version, catalogue.sha256, catalogue.text)
        except LeadcrmError:
            return None

    @contextmanager
    def _bound(self, slot_wait_s: float) -> Iterator[Entities]:
        """Hold a connection to the database.

        Raises:
            StoreUnavailable: The database cannot be reached, or all connections are in use.
        """
        slot = None if self._slots is None else self._slots.take(monotonic() + slot_wait_s)
        if self._slots is not None and slot is None:
            raise StoreUnavailable("all connections to the database are in use (connection_limit)")
        try:
            entities = bind(self._database)
            try:
                yield entities
            finally:
                entities.database.disconnect()
        finally:
            if self._slots is not None and slot is not None:
                self._slots.give_back(slot)

    def _register(self, slot_wait_s: float) -> None:
        """Give the text in force its version, and learn which sources there ever were."""
        catalogue = self._catalogue
        seen = {**self._read_seen(), **tables_in(catalogue.text, "source")}
        try:
            with self._bound(slot_wait_s) as entities:
                version = version_of(entities, entities.source_version, catalogue.sha256, catalogue.text)
                seen = {**tables_of_all_versions(entities), **tables_in(catalogue.text, "source")}
        except LeadcrmError:
            # Recovery says that the database is away.
            self._retire(seen)
            self._write_seen(seen)
            return
        if catalogue is self._catalogue:
            self.version = version
            self._is_registered = True
        self._retire(seen)
        self._write_seen(seen)

    def _retire(self, seen: Mapping[str, Mapping[str, Any]]) -> None:
        gone = {name: table for name, table in seen.items() if name not in self._catalogue.sources}
        self._retired = {**self._retired, **{name: retired_source(name, table) for name, table in gone.items()}}

    def _read_seen(self) -> dict[str, Mapping[str, Any]]:
        if self._seen_path is None:
            return {}
        with suppress(OSError, ValueError):
            seen = json.loads(self._seen_path.read_text())
            return {str(name): table for name, table in seen.items() if isinstance(table, dict)}
        return {}

    def _write_seen(self, seen: Mapping[str, Mapping[str, Any]]) -> None:
        kept = {
            name: {key: table[key] for key in KEPT_OF_RETIRED if key in table}
            for name, table in list(seen.items())[:_MAX_SEEN]
        }
        if self._seen_path is None or kept == self._read_seen():
            return
        # Of several workers each writes a file of its own, and the last one's takes the name.
        temporary = self._seen_path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(kept, default=str))
            temporary.replace(self._seen_path)
        except OSError as error:
            text = "the names of sources cannot be kept: %s"
            logger.warning(text, error.strerror, extra={"action": "sources", "repeat_key": text})
