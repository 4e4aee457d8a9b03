"""Print the oldest glibc that a one-file executable and its libraries can use: needed_glibc.py dist/leadcrm."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PyInstaller.archive.readers import CArchiveReader

executable = sys.argv[1]
archive = CArchiveReader(executable)
libraries = [archive.extract(name) for name, (*_, kind) in archive.toc.items() if kind == "b"]
versions = {
    tuple(map(int, found.split(b".")))
    for binary in (Path(executable).read_bytes(), *libraries)
    for found in re.findall(rb"\0GLIBC_(\d+\.\d+)\0", binary)
}
print(".".join(map(str, max(versions))))
