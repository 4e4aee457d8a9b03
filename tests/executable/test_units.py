"""The units in systemd/: valid, hardened as far as promised, and in step with each other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.server import REPOSITORY

UNITS = REPOSITORY / "systemd"
EXAMPLES = sorted((UNITS / "examples").glob("*.conf"))
MOST_EXPOSED = 1.2
MOST_EXPOSED_EMBEDDED = 0.5


def exposure(directory: Path, unit: Path, drop_ins: Sequence[Path] = ()) -> float:
    """Return what `systemd-analyze security` says of a unit together with drop-ins: 0 is none, 10 all."""
    # Offline it knows no drop-ins; a unit file may have a section several times, which means the same.
    joined = directory / unit.name
    joined.write_text("".join(path.read_text() for path in (unit, *drop_ins)))
    said = run("systemd-analyze", "--no-pager", "security", "--offline=true", str(joined))
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert found, said
    return float(found[1])


def run(*line: str) -> str:
    done = subprocess.run(line, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def settings(unit: Path) -> list[str]:
    """Return a unit's lines below [Service] without comments."""
    lines = unit.read_text().partition("[Service]")[2].splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("drop_in", [None, *EXAMPLES], ids=lambda path: path.stem if path else "plain")
def test_systemd_finds_nothing_wrong_with_the_units(executable: Path, tmp_path: Path, drop_in: Path | None) -> None:
    for unit in UNITS.glob("leadcrm*"):
        text = unit.read_text().replace("/usr/bin/leadcrm", str(executable))
        # The manual page of another machine is not looked for here.
        (tmp_path / unit.name).write_text(re.sub("(?m)^Documentation=.*", "", text))
    if drop_in:
        folder = tmp_path / "leadcrm.service.d"
        folder.mkdir()
        (folder / drop_in.name).write_text(drop_in.read_text())
    names = ("leadcrm.service", "leadcrm.socket", "leadcrm@.service")
    said = run("systemd-analyze", "verify", "--recursive-errors=no", *(str(tmp_path / name) for name in names))
    assert said == ""


@pytest.mark.parametrize("name", ["leadcrm.service", "leadcrm@.service"])
def test_the_services_are_exposed_as_little_as_promised(tmp_path: Path, name: str) -> None:
    assert exposure(tmp_path, UNITS / name) <= MOST_EXPOSED


@pytest.mark.parametrize("drop_in", EXAMPLES, ids=lambda path: path.stem)
def test_no_example_exposes_more(tmp_path: Path, drop_in: Path) -> None:
    most = MOST_EXPOSED_EMBEDDED if drop_in.stem == "embedded" else MOST_EXPOSED
    assert exposure(tmp_path, UNITS / "leadcrm.service", [drop_in]) <= most


def test_an_instance_is_the_service_with_another_s_socket() -> None:
    of_instance = settings(UNITS / "leadcrm@.service")
    of_instance.remove("Sockets=leadcrm.socket")
    assert of_instance == settings(UNITS / "leadcrm.service")


def test_every_line_of_the_service_has_its_reason() -> None:
    reason = False
    for line in (UNITS / "leadcrm.service").read_text().splitlines():
        reason = line.startswith("#") or (reason and bool(line))
        assert (
            reason or not line or line.startswith(("[", "Description=", "Documentation=", "ExecStart=", "WantedBy="))
        ), line
