"""What scripts/package makes: the same bytes each time, with settings that an upgrade keeps."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import leadcrm
from tests.support.server import REPOSITORY

PACKED = ("LICENSE", ".env.example", "leadcrm/__init__.py", "requirements.txt", "scripts", "systemd")
EPOCH = "1700000000"


def pack(directory: Path, executable: Path) -> Mapping[str, Path]:
    """Pack in a copy of the repository, and return what was made by its suffix."""
    for name in PACKED:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, target)
    (directory / "dist").mkdir()
    shutil.copy(executable, directory / "dist")
    environment = {**os.environ, "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": EPOCH}
    subprocess.run([directory / "scripts/package"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return {path.suffix: path for path in (directory / "dist").iterdir() if path.name != executable.name}


@pytest.fixture(scope="module")
def packages(executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return pack(tmp_path_factory.mktemp("packages"), executable)


def test_packing_twice_gives_the_same_bytes(executable: Path, packages: Mapping[str, Path], tmp_path: Path) -> None:
    again = pack(tmp_path / "again", executable)
    for suffix in (".deb", ".gz", ".json", ""):
        assert again[suffix].name == packages[suffix].name
        assert again[suffix].read_bytes() == packages[suffix].read_bytes(), again[suffix].name


def test_the_sums_are_those_of_the_files(packages: Mapping[str, Path]) -> None:
    folder = packages[".deb"].parent
    listed = dict(reversed(line.split("  ")) for line in packages[""].read_text().splitlines())
    assert listed == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    assert set(listed) == {packages[".deb"].name, packages[".gz"].name, packages[".json"].name, "leadcrm"}


def test_the_package_has_the_program_s_version_and_settings_of_the_administrator_s(
    packages: Mapping[str, Path],
) -> None:
    deb = packages[".deb"]
    control = run("dpkg-deb", "--field", str(deb), "Package", "Version", "Depends")
    assert f"Version: {leadcrm.__version__}\n" in control
    assert "libc6 (>= 2." in control
    assert run("dpkg-deb", "--info", str(deb), "conffiles") == "/etc/leadcrm/leadcrm.env\n"
    listed = {line.split(maxsplit=5)[5]: line for line in run("dpkg-deb", "--contents", str(deb)).splitlines()}
    assert listed["./etc/leadcrm/leadcrm.env"].startswith("-rw------- root/root")
    assert listed["./usr/bin/leadcrm"].startswith("-rwxr-xr-x root/root")
    for unit in ("leadcrm.service", "leadcrm@.service", "leadcrm.socket"):
        assert f"./usr/lib/systemd/system/{unit}" in listed


def test_every_setting_of_the_package_is_a_default_commented_out(packages: Mapping[str, Path]) -> None:
    with tarfile.open(packages[".gz"]) as archive:
        (member,) = (one for one in archive.getmembers() if one.name.endswith("/leadcrm.env"))
        content = archive.extractfile(member)
        assert content
        lines = content.read().decode().splitlines()
    assert "#WORKERS=1" in lines
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_archive_holds_a_program_and_an_installation_that_may_run(packages: Mapping[str, Path]) -> None:
    with tarfile.open(packages[".gz"]) as archive:
        modes = {Path(one.name).name: one.mode for one in archive.getmembers()}
    assert (modes["leadcrm"], modes["install"], modes["restart"]) == (0o755, 0o755, 0o755)


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm", "install", "restart"])
def test_the_scripts_are_written_for_any_posix_shell(script: str) -> None:
    assert run("dash", "-n", str(REPOSITORY / "scripts/packaging" / script)) == ""


def run(*line: str) -> str:
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
