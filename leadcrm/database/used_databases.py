"""Which databases the servers of a data folder have used, so that one that goes on in another database is told of.

Where `DATABASE_URL` is lost or a disk is not mounted, leads go to another, empty database, and all seems well. So the
folder remembers the databases in the order of their use. A database is known by the time of its first migration, which
stays with it when it is moved, renamed, restored or replicated, and which a new one in its place does not have.

Deleting the file says that the change was meant.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from leadcrm.database.data_dir import give_to_owner_of, publish
from leadcrm.errors import ConfigError

USED_DATABASES_FILE = "databases.json"

logger = logging.getLogger("leadcrm.database.used_databases")


class UsedDatabase(NamedTuple):
    """A database that was used.

    Attributes:
        place: Where it was, as `DatabaseURL.place` says it.
        made_at: The time of its first migration; empty if that is not known.
        since: When the folder's servers began to use it.
    """

    place: str
    made_at: str
    since: str


def note_use(data_dir: Path, place: str, made_at: str) -> None:
    """Note durably that the folder's leads go to a database; a change is logged once, whoever notices it first.

    Raises:
        OSError: It cannot be noted.
    """
    before = _read(data_dir)
    if before == _with(before, place, made_at):
        return
    with _alone(data_dir):
        before = _read(data_dir)
        after = _with(before, place, made_at)
        if after == before:
            return
        _write(data_dir, after)
    if len(after) > len(before) > 0:
        text = "%s was last used with another database: %s"
        logger.warning(text, data_dir, _describe(after), extra={"action": "start", "hint": what_to_do(data_dir)})
    elif len(after) < len(before):
        text = "the former database is used again: %s; what came since %s lies in %s"
        others = ", ".join(f"{one.place}, made {one.made_at}" for one in before[len(after) :])
        hint = "`leadcrm export` with that DATABASE_URL shows them: they are not in the present database"
        extra = {"action": "start", "hint": hint}
        logger.warning(text, place, before[len(after)].since, others, extra=extra)


def note_place(data_dir: Path, place: str) -> None:
    """Note the place of the database that was used last, by a version that noted nothing more of it.

    Raises:
        OSError: It cannot be noted.
    """
    with _alone(data_dir):
        if not _read(data_dir):
            _write(data_dir, [UsedDatabase(place, "", _now())])


def note_renewal(data_dir: Path, place: str) -> None:
    """Note that a command has put another database in the place of one, as a person wanted: what was there is over."""
    with suppress(OSError), _alone(data_dir):
        before = _read(data_dir)
        after = [one for one in before if one.place != place]
        if before and before[-1].place == place:
            after.append(UsedDatabase(place, "", _now()))
        if after != before:
            _write(data_dir, after)


def describe_change(data_dir: Path) -> str | None:
    """Say in which other databases former leads lie; None if they are where the folder's leads go now."""
    return _describe(_read(data_dir))


def describe_change_to(data_dir: Path, place: str, made_at: str) -> str | None:
    """Say the same as if a server used a database now; `made_at` is empty for one without a schema."""
    return _describe(_with(_read(data_dir), place, made_at))


def require_used(data_dir: Path, place: str, made_at: str) -> None:
    """Require that the folder's leads went to a database before, so that a command moves none into another one.

    Raises:
        ConfigError: It is another one.
    """
    before = _read(data_dir)
    if before and len(_with(before, place, made_at)) > len(before):
        fault = f"leads in {data_dir} are meant for {_name(before[-1])}, and {place} is another database"
        accepted = f"the server's; if the change was meant, delete {data_dir / USED_DATABASES_FILE}"
        raise ConfigError("DATABASE_URL", fault, accepted)


def what_to_do(data_dir: Path) -> str:
    """Return the operator's next step after a change."""
    file = data_dir / USED_DATABASES_FILE
    return f"put DATABASE_URL back or mount the disk, and restart; if the change was meant, delete {file}"


def _with(before: Sequence[UsedDatabase], place: str, made_at: str) -> list[UsedDatabase]:
    """Return the databases after the use of one. One that was used before takes back what came after it."""
    for number, one in enumerate(before):
        is_same = one.made_at == made_at if one.made_at else one.place == place
        if is_same:
            return [*before[:number], one._replace(place=place, made_at=made_at)]
    return [*before, UsedDatabase(place, made_at, _now())]


def _describe(databases: Sequence[UsedDatabase]) -> str | None:
    told = [f"leads until {after.since} lie in another database: {_name(one)}" for one, after in pairwise(databases)]
    return f"{'; '.join(told)}; since then they go to {_name(databases[-1])}" if told else None


def _name(database: UsedDatabase) -> str:
    return f"{database.place}, made {database.made_at}" if database.made_at else database.place


def _read(data_dir: Path) -> list[UsedDatabase]:
    """Return the databases; none where the file is missing or not ours."""
    try:
        used = json.loads((data_dir / USED_DATABASES_FILE).read_bytes())
        return [UsedDatabase(str(one["place"]), str(one["made_at"]), str(one["since"])) for one in used]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _write(data_dir: Path, databases: Sequence[UsedDatabase]) -> None:
    new = data_dir / f".{USED_DATABASES_FILE}.part"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        give_to_owner_of(data_dir, file.fileno())
        json.dump([one._asdict() for one in databases], file, indent=2)
    publish(new, data_dir / USED_DATABASES_FILE)


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Hold the folder for a moment: each worker of each of its servers notes what it uses."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
