"""The sinks as they are now: those of the file's latest text that could be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from leadcrm.configuration.tables import files_of, signature_of
from leadcrm.delivery.definition import read_sinks
from leadcrm.delivery.sink import Sink
from leadcrm.errors import SinksFault

logger = logging.getLogger("leadcrm.delivery")


class LiveSinks:
    """The sinks of one process, which looks at the file now and then."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SinksFault: It cannot be used.
        """
        self._path = path
        self._files = files_of(path, "sink")
        self._signature: tuple[tuple[int, ...], ...] | None = signature_of(self._files)
        self.sinks: Mapping[str, Sink] = read_sinks(path)
        """By name."""
        self.fault = ""
        """Why the file's present text is not in force, in words that anyone may read; empty if it is."""

    def now(self) -> Mapping[str, Sink]:
        """Return the sinks as the file has them now."""
        self.look()
        return self.sinks

    def look(self) -> None:
        """Take the file's text if it has changed and can be used; else all stays as it is."""
        signature = signature_of(self._files)
        if signature == self._signature:
            return
        self._files = files_of(self._path, "sink")
        # Of before the reading: a change during it is a change after it. None until the text is in force or known to be
        # at fault: one that could not be read may be readable in a moment, though no file changes.
        self._signature, signature = None, signature_of(self._files)
        try:
            sinks = read_sinks(self._path, may_be_empty=not self.sinks)
        except SinksFault as fault:
            self.fault = "SINKS_FILE has a fault, the text before it stays in force: `leadcrm sinks check`"
            text = "the sinks stay as they are: %s"
            logger.warning(text, fault, extra={"action": "sinks", "hint": fault.hint, "repeat_key": str(fault)})
            self._signature = None if fault.may_pass else signature
            return
        self.fault = ""
        self._signature = signature
        if sinks != self.sinks:
            before, self.sinks = self.sinks, sinks
            names = {
                "added": sorted(sinks.keys() - before.keys()),
                "removed": sorted(before.keys() - sinks.keys()),
                "changed": sorted(name for name in sinks.keys() & before.keys() if sinks[name] != before[name]),
            }
            logger.info("the sinks were read anew", extra={"action": "sinks", "sinks": len(sinks), **names})
