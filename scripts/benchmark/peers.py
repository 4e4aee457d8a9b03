"""Installs and compiles the Node peers in build/bench/peers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "peers"
BUILD = Path(__file__).parents[2] / "build" / "bench"
NODE = BUILD / "peers"


def build_node_peers() -> Path:
    """Install and compile the peers unless their sources are unchanged, and return their folder."""
    stamp, wanted = NODE / "built-from", _fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return NODE
    if shutil.which("npm") is None:
        raise SystemExit("bench: npm is not installed, and the Node peers need it: apt install nodejs npm")
    print("bench: installing the Node peers into build/bench/peers", flush=True)
    shutil.rmtree(NODE, ignore_errors=True)
    shutil.copytree(SOURCES, NODE)
    # With a driver adapter Prisma needs no engine, but `generate` insists on finding one.
    environment = {**os.environ, "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "CHECKPOINT_DISABLE": "1"}
    for command, folder in (
        (["npm", "ci", "--no-fund", "--no-audit", "--loglevel=error"], NODE),
        (["npx", "prisma", "generate"], NODE / "original"),
        (["npx", "tsc"], NODE / "original"),
    ):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(command)} failed in {folder}:\n{done.stdout}{done.stderr}")
    stamp.write_text(wanted)
    return NODE


def _fingerprint() -> str:
    files = sorted(file for file in SOURCES.rglob("*") if file.is_file() and file.suffix != ".py")
    return "\n".join(f"{file.relative_to(SOURCES)} {file.read_text()}" for file in files)
