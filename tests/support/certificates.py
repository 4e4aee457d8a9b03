"""A certificate for TLS on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(folder: Path) -> Path:
    """Return the file of a certificate of `localhost` that nobody knows, with its key."""
    path = folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(path), "-out", str(folder / "c")]
    subprocess.run([*words, *subject, *files], check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "c").read_text())
    return path
