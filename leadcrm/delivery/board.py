"""What one process tells the others of its node, in memory that they share: for /ready and /metrics.

There is one writer. A reader that meets a half-written text reads again.
"""

from __future__ import annotations

import json
import mmap
import struct
from contextlib import suppress
from time import monotonic, time
from typing import Any

SIZE = 256 * 1024
_HEAD = struct.Struct("<QI")
_ATTEMPTS = 20

BEHIND_S = 60.0
"""The age of the oldest waiting event from which a sink counts as behind, and of what was told as too old."""


class Board:
    """A document that one process writes and others read."""

    def __init__(self) -> None:
        """Map the memory; call it before forking."""
        self._memory = mmap.mmap(-1, SIZE)

    def write(self, document: dict[str, Any]) -> None:
        """Replace what is told."""
        data = json.dumps(document).encode()
        if len(data) > SIZE - _HEAD.size:
            return
        number, _ = _HEAD.unpack_from(self._memory)
        _HEAD.pack_into(self._memory, 0, number + 1, 0)
        self._memory[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._memory, 0, number + 2, len(data))

    def read(self) -> dict[str, Any]:
        """Return what was told last."""
        for _ in range(_ATTEMPTS):
            number, size = _HEAD.unpack_from(self._memory)
            data = self._memory[_HEAD.size : _HEAD.size + size]
            if size and _HEAD.unpack_from(self._memory) == (number, size):
                with suppress(ValueError):
                    document: dict[str, Any] = json.loads(data)
                    return document
        return {}


class DeliveryBoard(Board):
    """The sinks of a node: by name the outcomes counted, the time of the oldest event that waits, and a fault.

    `told_at` is the monotonic clock's, which is the same for all processes of a machine.
    """

    def __init__(self) -> None:
        """Map the memory; call it before forking."""
        super().__init__()
        self._made_at = monotonic()

    def tell(self, sinks: dict[str, dict[str, Any]], fault: str) -> None:
        """Replace what is told of the sinks."""
        self.write({"sinks": sinks, "fault": fault, "told_at": monotonic()})

    def say_alive(self) -> None:
        """Say that there is nothing new to tell."""
        self.write({**self.read(), "told_at": monotonic()})

    def sinks(self) -> dict[str, dict[str, Any]]:
        """Return what was told of each sink."""
        sinks: dict[str, dict[str, Any]] = self.read().get("sinks", {})
        return sinks

    def fault(self) -> str:
        """Return what an operator should look at; empty if all is well."""
        document = self.read()
        faults = [document.get("fault", "")]
        silent_s = monotonic() - document.get("told_at", self._made_at)
        if silent_s > BEHIND_S:
            faults.append(f"what delivers to the sinks has told nothing for {silent_s:.0f} s")
        for name, told in document.get("sinks", {}).items():
            age_s = age_of(told)
            if told.get("disabled"):
                faults.append(f"the sink {name} is disabled: {told['disabled']}")
            elif age_s > BEHIND_S:
                faults.append(f"the sink {name} is behind: its oldest event has waited for {age_s:.0f} s")
        return "; ".join(filter(None, faults))


def age_of(told: dict[str, Any]) -> float:
    """Return for how many seconds a sink's oldest event has waited."""
    oldest = told.get("oldest")
    return max(0.0, time() - oldest) if oldest else 0.0
