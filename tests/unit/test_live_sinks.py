"""The sinks of a running process, which follow their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadcrm.configuration.tables import signature_of
from leadcrm.delivery.live import LiveSinks
from leadcrm.errors import SinksFault
from tests.support.descriptors import no_descriptors
from tests.support.waiting import wait_until

TEXTS_OF_NO_TABLES = ("[[sink]]\n", "sink = 1\n", f"sink.a.rate = {'9' * 5000}\n", f"sink = {'[' * 5000}\n")

TEXT = "[sink.{}]\nurl = 'https://a.example/'\nsecret = '{}'\n"


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


@pytest.mark.parametrize("text", TEXTS_OF_NO_TABLES, ids=lambda text: text[:12])
def test_a_text_of_no_tables_is_a_fault_and_changes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(TEXT.format("same", "one"))
    sinks = LiveSinks(file)
    file.write_text(text)
    assert list(sinks.now()) == ["same"]
    assert "SINKS_FILE has a fault" in sinks.fault
    with pytest.raises(SinksFault):
        LiveSinks(file)


def test_a_text_that_could_not_be_read_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(TEXT.format("before", "one"))
    sinks = LiveSinks(file)
    file.write_text(TEXT.format("after", "one"))
    with no_descriptors():
        sinks.look()
    assert "SINKS_FILE has a fault" in sinks.fault
    assert (list(sinks.now()), sinks.fault) == (["after"], "")


def test_the_log_tells_which_sinks_a_text_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "leadcrm.delivery")
    file = tmp_path / "sinks.toml"
    file.write_text("".join(TEXT.format(name, "one") for name in ("same", "other", "gone")))
    sinks = LiveSinks(file)
    file.write_text("".join(TEXT.format(*sink) for sink in (("same", "one"), ("other", "two"), ("new", "one"))))
    sinks.look()
    (record,) = caplog.records
    told = {name: getattr(record, name) for name in ("added", "removed", "changed")}
    assert told == {"added": ["new"], "removed": ["gone"], "changed": ["other"]}
