"""The sinks of a running process, which follow their files."""

from __future__ import annotations

from pathlib import Path

from leadcrm.configuration.tables import signature_of
from tests.support.waiting import wait_until


def test_a_file_whose_permissions_change_is_looked_at_again(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text("")
    before = signature_of([file])

    def is_noticed() -> bool:
        # Again and again: the times of some file systems are those of the kernel's last tick.
        file.chmod(0o640)
        return signature_of([file]) != before

    # It may be readable now, as may a secret's file.
    wait_until(is_noticed, timeout_s=2)
