"""etcd, HAProxy and Patroni, without root: from the PATH, or pinned from Debian's archive and PyPI."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cluster"
"""What was fetched is kept here, and ignored by git."""

REQUIREMENTS = Path(__file__).with_name("requirements.lock")


class Package(NamedTuple):
    """A package of Debian 12 for amd64."""

    name: str
    version: str
    sha256: str


PACKAGES = (
    Package("etcd-server", "3.4.23-4+b4", "3a9445d4560ad6de1c375756b2a17d97713df44cbd20a658c871fe108af7ef5d"),
    Package("haproxy", "2.6.12-1+deb12u4", "97ca097d12b43fc5cb1b17aa5e84957735ef312a2e02cf8a99512fa1abe8a955"),
    Package("liblua5.3-0", "5.3.6-2", "576ad8ef2e9f6ad21f29f0c90dac17448deefee8f3912877c2a0911b77e5d3ca"),
    Package(
        "libopentracing-c-wrapper0", "1.1.3-3+b1", "68013bf6296a776923622c871bed26bc7b6bfe5f84b0fa2707a06382d1db2692"
    ),
    Package("libopentracing1", "1.6.0-4", "af62b62a99979253a79e3443f7dabe13f1f33bc2fc024f99039e3868a67f26f4"),
)
"""The programs, and the libraries that one of them needs and few machines have."""

LIBRARIES = FOLDER / "debian/usr/lib/x86_64-linux-gnu"
"""For LD_LIBRARY_PATH."""


def find_program(name: str) -> Path:
    """Return a program's path; it is fetched if need be.

    Raises:
        SystemExit: It cannot be had.
    """
    if found := shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"):
        return Path(found)
    tree = FOLDER / "debian"
    if not tree.exists():
        part = FOLDER / "debian.part"
        shutil.rmtree(part, ignore_errors=True)
        for package in PACKAGES:
            _fetch(package, part)
        part.rename(tree)
    return next(tree.glob(f"usr/*bin/{name}"))


def _fetch(package: Package, tree: Path) -> None:
    wanted = f"{package.name}={package.version}"
    downloads = FOLDER / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "download", wanted], cwd=downloads, check=False, capture_output=True, text=True)
    file = next(downloads.glob(f"{package.name}_*.deb"), None)
    if done.returncode or file is None:
        sys.exit(f"{wanted} cannot be fetched from Debian: install etcd and haproxy in another way\n{done.stderr}")
    if hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        sys.exit(f"{file} has another content than {wanted} in Debian 12 for amd64")
    subprocess.run(["dpkg", "-x", file, tree], check=True)
    file.unlink()


def python_packages(version: str) -> Path:
    """Return the folder of Patroni and what it needs, for the PYTHONPATH of a Python of this version, such as 3.11."""
    folder = FOLDER / f"python-{version}-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        part = FOLDER / "python.part"
        shutil.rmtree(part, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--python-version", version, "--require-hashes", "--target", part]
        subprocess.run([*pip, *options, "-r", REQUIREMENTS], check=True)
        part.rename(folder)
    return folder
