"""What is weak about the tokens of a configuration, in words for the operator; no word quotes a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from leadcrm.configuration.config import Config

MIN_LENGTH = 16
MIN_CHARACTERS = 6
"""Different characters; fewer are a pattern."""

_IN_FILE = "file "

HOW_TO_MAKE = "make a long one, such as `openssl rand -base64 33`, for each of them and keep it in a file of mode 0600"


def weaknesses(config: Config) -> Iterator[str]:
    """Yield each weakness of a token."""
    seen: dict[str, str] = {}
    for name in ("INGEST_TOKEN", "ADMIN_TOKEN", "METRICS_TOKEN"):
        token: str | None = getattr(config, name.lower())
        if token is None:
            continue
        if len(token) < MIN_LENGTH:
            yield f"{name} has {len(token)} characters, fewer than {MIN_LENGTH}: it can be guessed"
        elif len(set(token)) < MIN_CHARACTERS:
            yield f"{name} has few different characters: it can be guessed"
        if token in seen:
            yield f"{name} is the same as {seen[token]}: who has the one has the other"
        seen.setdefault(token, name)
        source = config.sources[name]
        if source.startswith(_IN_FILE) and _is_readable_by_all(Path(source.removeprefix(_IN_FILE))):
            yield f"{source.removeprefix(_IN_FILE)}, which holds {name}, is readable by every user of this machine"


def _is_readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False
