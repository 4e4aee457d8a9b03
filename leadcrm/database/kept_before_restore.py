"""What a restore keeps of the database that it replaces: `NAME.before-restore-TIME`, with its log where it had one.

The log of a damaged database goes to the kept file right before the new one takes its place. A power cut in between
leaves the old database without its log, which only looks whole: nothing may open it until the restore is run again.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

_NAME = re.compile(r".+\.before-restore-[0-9T.]+Z")


def new_kept_before_restore(path: Path) -> Path:
    """Return the path under which a database that is replaced now is kept."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    return path.with_name(f"{path.name}.before-restore-{moment}")


def kept_by_unfinished_restores(path: Path) -> list[Path]:
    """Return the names under which restores that did not end have kept the very file that is in use."""
    prefix = f"{path.name}.before-restore-"
    try:
        file = os.stat(path)
        names = [name for name in os.listdir(path.parent) if name.startswith(prefix) and _NAME.fullmatch(name)]
        return [kept for name in sorted(names) if os.path.samestat(os.stat(kept := path.with_name(name)), file)]
    except OSError:
        return []  # SQLite tells what is wrong with the file


def find_taken_log(path: Path) -> Path | None:
    """Return the kept file beside which the log of a database lies since a restore was cut off; None if none was."""
    if os.path.exists(f"{path}-wal"):
        return None
    return next((kept for kept in kept_by_unfinished_restores(path) if os.path.exists(f"{kept}-wal")), None)
