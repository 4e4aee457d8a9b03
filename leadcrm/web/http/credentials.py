"""Which headers and parameters of a query hold credentials, which are stored nowhere."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_plus

REDACTED = "[redacted]"

# The last words of a name. Keys of people and campaigns (`idempotency-key`, `keyword`) are none, and a signature proves
# only the body that it came with.
_CREDENTIAL = re.compile(
    r"""
    (?:^|[-_.\[])
    (?: auth | authorization | authentication | cookie2? | set[-_]cookie | token | tokens | secret | secrets | password
        | passwd | pwd | pass | credential | credentials | jwt | bearer | session[-_]?id | sid
        | (?:api|access|auth|private|secret|client|shared|app|subscription|functions)[-_]?(?:key|token|secret)
        | csrf | xsrf )
    \]?$
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@lru_cache(maxsize=4096)
def is_credential(name: str) -> bool:
    """Say whether a header or parameter of this name holds a credential."""
    return len(name) <= 100 and _CREDENTIAL.search(_CAMEL.sub("-", name)) is not None


def without_credentials(target: str) -> str:
    """Return a path with its query, in which the values of credentials are redacted."""
    path, mark, query = target.partition("?")
    if not mark or "=" not in query:
        return target
    return path + mark + "&".join(map(_redacted, query.split("&")))


def _redacted(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={REDACTED}" if equals and value and is_credential(unquote_plus(name[:300])) else pair
