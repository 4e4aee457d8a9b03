"""Prints the bill of materials of the executable: CycloneDX 1.5, with each package that the program needs.

The hashes of a package's files are those of scripts/requirements.lock.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

DEVELOPERS_PART = "# Building the executable and testing."
"""What follows it in requirements.txt is not in the executable."""


def closure() -> list[str]:
    """Return the names of the packages that the program needs, and of those that they need."""
    product = (ROOT / "requirements.txt").read_text().partition(DEVELOPERS_PART)[0]
    waiting = [(Requirement(line), {""}) for line in product.splitlines() if line and not line.startswith("#")]
    names: set[str] = set()
    while waiting:
        requirement, extras = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name not in names:
            names.add(name)
            needed = metadata.requires(name) or []
            waiting += [(Requirement(text), {"", *requirement.extras}) for text in needed]
    return sorted(names)


def locked() -> dict[str, list[str]]:
    """Return the hashes of the files of each pin of scripts/requirements.lock."""
    entries = re.split(r"\n(?=\S)", (ROOT / "scripts/requirements.lock").read_text())
    return {entry.split(maxsplit=1)[0].rstrip(";"): re.findall(r"sha256:(\w+)", entry) for entry in entries}


def component(name: str, hashes: dict[str, list[str]]) -> dict[str, Any]:
    """Return the entry of a package."""
    version = metadata.version(name)
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": one} for one in hashes[f"{name}=={version}"]],
    }


def main(version: str) -> None:
    """Print the document for this version of leadcrm."""
    hashes = locked()
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "leadcrm", "version": version}},
        "components": [component(name, hashes) for name in closure()],
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
