"""The HTTP protocol of the framework, with a kinder way to stop.

When a server stops, the framework closes every connection on which no request is being handled, also one that the
kernel accepted a moment ago and whose request is on its way. This one lets such a connection wait a moment first.
"""

from __future__ import annotations

from sanic.http.constants import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

LINGER_S = 0.25
"""How long a quiet connection may still send a request after the stop: a round trip and some."""


class LingeringProtocol(HttpProtocol):
    """Gives a connection that is idle at the stop a moment in which its request is still read and answered."""

    __slots__ = ("_lingers",)

    def wind_down(self) -> None:
        """Answer what is on its way, say `Connection: close` with it, and close once nothing comes."""
        if self.http is not None:
            self.http.keep_alive = False
        if not getattr(self, "_lingers", False):
            self._lingers = True
            self.loop.call_later(LINGER_S, self.close_if_idle)

    def is_busy(self) -> bool:
        """Say whether a request is being received, handled or answered."""
        return self.http is not None and self.http.stage is not Stage.IDLE
