"""Tests leadcrm under systemd on one virtual machine; each step continues from the previous one."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from scripts.vm.machine import Machine
from tests.support.client import Answer, Client
from tests.support.journal import Entry, Journal, Outcome
from tests.support.load import Lead, Load, generated_leads
from tests.support.ports import free_port

HEALTHY_TIMEOUT_S = 120.0
LOAD_CONNECTIONS = 6
LOAD_PAUSE_S = 0.3
MOST_EXPOSED = 1.2
RESTARTS = "systemctl show --value --property NRestarts leadcrm.service"


class Trial:
    """The machine, its client, and the leads acknowledged so far."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.client = Client("127.0.0.1", machine.port)
        self.acknowledged: dict[str, tuple[bytes, str]] = {}
        """Body and lead id by key."""
        self._folder = folder
        self._loads = 0

    def post(self, key: str, timeout_s: float = 60.0) -> Answer:
        """Send a lead; fail unless it is acknowledged."""
        body = json.dumps({"email": f"{key}@example.com"}).encode()
        answer = self.client.post_lead(body, key=key, timeout_s=timeout_s)
        assert answer.status in (201, 409), answer
        self.acknowledged.setdefault(key, (body, answer.json()["lead_id"]))
        return answer

    def wait_healthy(self) -> None:
        """Wait until /health answers 200 from outside."""
        deadline = monotonic() + HEALTHY_TIMEOUT_S
        while True:
            try:
                if self.client.get("/health", timeout_s=5).status == 200:
                    return
            except OSError:
                pass
            assert monotonic() < deadline, self.machine.run("systemctl status leadcrm; journalctl -n 30 -u leadcrm")[1]
            sleep(0.2)

    def state(self, names: str, unit: str = "leadcrm.service") -> str:
        """Return the properties of a unit in the order of `names`."""
        lines = self.machine.tell(f"systemctl show --property {names} {unit}").splitlines()
        found = dict(line.split("=", 1) for line in lines)
        return " ".join(found[name] for name in names.split(","))

    @contextmanager
    def load(self, *, may_fail: bool = False) -> Iterator[list[Entry]]:
        """Send leads, one connection each, for the duration of the block; yield the list that receives their entries.

        Unless `may_fail`, each must be acknowledged.
        """
        self._loads += 1
        happened: list[Entry] = []
        bodies = {}

        def leads() -> Iterator[Lead]:
            for lead in generated_leads(self._loads, repeat_share=0.1):
                bodies[lead.key] = lead.body
                yield lead

        with (
            Journal(self._folder / f"journal-{self._loads}") as journal,
            Load(
                "127.0.0.1",
                self.machine.port,
                journal,
                leads(),
                connections=LOAD_CONNECTIONS,
                most_s=900,
                timeout_s=60,
                keep_alive=False,
                pause_s=LOAD_PAUSE_S,
            ) as load,
        ):
            self._wait_for_more(journal)
            yield happened
            self._wait_for_more(journal)
            load.stop()
        happened += journal.entries
        for entry in happened:
            if entry.acknowledged and entry.key and entry.lead_id:
                key = entry.key.encode("latin-1")
                self.acknowledged.setdefault(entry.key, (bodies[key], entry.lead_id))
        if not may_fail:
            failed = [entry for entry in happened if not entry.acknowledged or entry.outcome is not Outcome.ANSWERED]
            assert not failed, f"{len(failed)} of {len(happened)} failed: {failed[:3]}"

    def _wait_for_more(self, journal: Journal) -> None:
        before, deadline = journal.acknowledged_count, monotonic() + 120
        while journal.acknowledged_count < before + 50:
            assert monotonic() < deadline, "the load gets no answers"
            sleep(0.1)

    def expect_all_kept(self) -> int:
        """Repeat every acknowledged lead by its key: each must be known under the same id."""

        def ask(key: str) -> None:
            body, lead_id = self.acknowledged[key]
            answer = self.client.post_lead(body, key=key)
            assert (answer.status, answer.json()["lead_id"]) == (409, lead_id), f"{key} was {lead_id}: {answer}"

        with ThreadPoolExecutor(LOAD_CONNECTIONS) as pool:
            for _ in pool.map(ask, self.acknowledged):
                pass
        return len(self.acknowledged)


def summary(entries: list[Entry]) -> str:
    longest = max(entry.latency_s for entry in entries)
    failed = sum(not entry.acknowledged for entry in entries)
    return f"{len(entries)} requests, {failed} failed, the longest answer took {longest:.2f} s"


def install(trial: Trial) -> str:
    status, _ = trial.machine.run("command -v python3")
    assert status != 0, "this machine has a Python"
    trial.machine.tell("dpkg -i /packages/first.deb")
    trial.wait_healthy()
    assert trial.state("ActiveState,SubState") == "active running"
    assert (trial.post("original").status, trial.post("original").status) == (201, 409)
    said = trial.machine.tell("TMPDIR=/var/tmp leadcrm version | head -1; findmnt -no OPTIONS /tmp")
    return said.replace("\n", ", with /tmp mounted ")


def settings_and_data_are_closed(trial: Trial) -> str:
    said = trial.machine.tell("stat -c '%a %U' /etc/leadcrm/leadcrm.env /var/lib/private/leadcrm")
    assert said.splitlines()[0] == "600 root", said
    assert said.splitlines()[1].startswith("700 "), said
    return said.replace("\n", ", ")


def security(trial: Trial) -> str:
    said = trial.machine.tell("systemd-analyze --no-pager security leadcrm.service | tail -1")
    assert float(said.split(":")[1].split()[0]) <= MOST_EXPOSED, said
    return said.strip("→ ")


def log(trial: Trial) -> str:
    lines = trial.machine.tell("journalctl -u leadcrm.service -o cat --no-pager | grep '^{'").splitlines()
    records = [json.loads(line) for line in lines]
    assert any(record["msg"] == "serving" for record in records)
    return f"{len(records)} records"


def stop_and_start(trial: Trial) -> str:
    trial.machine.tell("systemctl stop leadcrm.service")
    assert trial.state("ActiveState,Result,ExecMainStatus") == "inactive success 0"
    assert trial.machine.tell("ls -d /tmp/systemd-private-*leadcrm*/tmp/_MEI* 2>/dev/null | wc -l") == "0"
    started = monotonic()
    assert trial.post("starts-it").status == 201
    return f"a lead that arrived then started it and was answered after {monotonic() - started:.1f} s"


def restart_under_load(trial: Trial) -> str:
    with trial.load() as entries:
        for _ in range(2):
            trial.machine.tell("systemctl restart leadcrm.service")
    return summary(entries)


def replace_under_load(trial: Trial) -> str:
    with trial.load() as entries:
        trial.machine.tell("/usr/lib/leadcrm/restart")
    return summary(entries)


def upgrade_under_load(trial: Trial) -> str:
    trial.machine.tell("echo '# mine' >>/etc/leadcrm/leadcrm.env")
    before = trial.state("ExecMainStartTimestampMonotonic")
    with trial.load() as entries:
        trial.machine.tell("dpkg -i /packages/next.deb")
    assert trial.state("ExecMainStartTimestampMonotonic") != before, "it was not restarted"
    assert trial.state("ActiveState", "leadcrm@substitute.service") == "inactive"
    trial.machine.tell("tail -1 /etc/leadcrm/leadcrm.env | grep -q mine")
    assert "next" in trial.machine.tell("dpkg-query -W leadcrm")
    return summary(entries)


def crash(trial: Trial) -> str:
    before = int(trial.state("NRestarts"))
    with trial.load(may_fail=True) as entries:
        trial.machine.tell("kill -9 $(systemctl show --value --property MainPID leadcrm.service)")
        trial.machine.wait(f"[ $({RESTARTS}) -gt {before} ]")
        trial.wait_healthy()
    return f"restarted; {summary(entries)}; of {trial.expect_all_kept()} leads acknowledged so far none lost"


def hang(trial: Trial) -> str:
    before = int(trial.state("NRestarts"))
    started = monotonic()
    trial.machine.tell("kill -STOP $(cat /sys/fs/cgroup/system.slice/leadcrm.service/cgroup.procs)")
    trial.machine.wait(f"[ $({RESTARTS}) -gt {before} ]")
    took_s = monotonic() - started
    trial.wait_healthy()
    trial.machine.tell("journalctl -u leadcrm.service --no-pager | grep -q 'Watchdog timeout'")
    return f"replaced after {took_s:.0f} s; of {trial.expect_all_kept()} leads acknowledged so far none lost"


def wrong_configuration(trial: Trial) -> str:
    trial.machine.tell("sed -i 's/^#MAX_BODY_BYTES=.*/MAX_BODY_BYTES=much/' /etc/leadcrm/leadcrm.env")
    status, _ = trial.machine.run("systemctl restart leadcrm.service")
    assert status != 0
    # Longer than the second after which systemd would restart it.
    sleep(5)
    found = trial.state("ActiveState,ExecMainStatus,NRestarts")
    assert found == "failed 78 0", found
    said = trial.machine.tell(
        "journalctl -u leadcrm.service -o cat --no-pager | grep '^leadcrm: MAX_BODY_BYTES' | tail -1"
    )
    waiting: list[Answer] = []
    sender = threading.Thread(target=lambda: waiting.append(trial.post("waits", timeout_s=240)))
    sender.start()
    trial.machine.tell("sed -i 's/^MAX_BODY_BYTES=.*/#MAX_BODY_BYTES=1048576/' /etc/leadcrm/leadcrm.env")
    trial.machine.run("systemctl restart leadcrm.service")
    sender.join()
    assert waiting[0].status == 201, "a lead that arrived meanwhile was not answered"
    return said


def secrets(trial: Trial) -> str:
    trial.machine.tell("mkdir -p /etc/credstore && (umask 077; echo vm-secret >/etc/credstore/leadcrm.INGEST_TOKEN)")
    trial.machine.tell("systemctl restart leadcrm.service")
    trial.wait_healthy()
    refused = trial.client.post_lead(b"{}")
    taken = trial.client.post_lead(b"{}", headers=[("Authorization", "Bearer vm-secret")])
    trial.machine.tell("rm /etc/credstore/leadcrm.INGEST_TOKEN; systemctl restart leadcrm.service")
    trial.wait_healthy()
    assert (refused.status, taken.status) == (401, 201)
    return "401 without the token, 201 with it"


def embedded_profile(trial: Trial) -> str:
    trial.machine.tell("mkdir -p /etc/systemd/system/leadcrm.service.d")
    trial.machine.tell("cp /usr/share/doc/leadcrm/examples/embedded.conf /etc/systemd/system/leadcrm.service.d/")
    trial.machine.tell("systemctl daemon-reload; systemctl restart leadcrm.service")
    trial.wait_healthy()
    trial.post("embedded")
    said = security(trial)
    starts = "journalctl -u leadcrm@substitute.service | grep -c Started"
    before = int(trial.machine.tell(starts))
    with trial.load() as entries:
        trial.machine.tell("/usr/lib/leadcrm/restart")
    assert int(trial.machine.tell(starts)) == before + 1, "no substitute with the service's drop-ins"
    assert trial.state("PrivateNetwork", "leadcrm@a.service") == "yes"
    return f"{said}; replaced: {summary(entries)}"


def two_workers(trial: Trial) -> str:
    trial.machine.tell("sed -i 's/^#WORKERS=1/WORKERS=2/' /etc/leadcrm/leadcrm.env; systemctl restart leadcrm.service")
    trial.wait_healthy()
    with trial.load() as entries:
        trial.machine.tell("systemctl restart leadcrm.service")
    return summary(entries)


def commands(trial: Trial) -> str:
    line = (
        "systemd-run --quiet --pipe --wait --setenv=TMPDIR=/var/tmp --property=DynamicUser=yes --property=User=leadcrm "
        "--property=StateDirectory=leadcrm --property=EnvironmentFile=-/etc/leadcrm/leadcrm.env leadcrm"
    )
    checked = trial.machine.tell(f"{line} check").count("\nok ")
    verified = json.loads(trial.machine.tell(f"{line} verify --json"))
    assert verified["ok"], verified
    return f"check found {checked} things well, verify {verified['rows']} rows"


def remove_and_install_again(trial: Trial) -> str:
    trial.machine.tell("dpkg -r leadcrm")
    status, _ = trial.machine.run("systemctl is-active leadcrm.service leadcrm.socket")
    assert status != 0
    trial.machine.tell("test -s /var/lib/private/leadcrm/leadcrm.db && test -s /etc/leadcrm/leadcrm.env")
    trial.machine.tell("dpkg -i /packages/first.deb")
    trial.wait_healthy()
    return f"of {trial.expect_all_kept()} leads acknowledged before none lost"


def purge(trial: Trial) -> str:
    trial.machine.tell("dpkg -P leadcrm")
    left = trial.machine.tell(
        "find / -xdev -name '*leadcrm*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/packages*'"
    )
    mine = [path for path in left.splitlines() if not path.startswith("/etc/systemd/system/leadcrm.service.d")]
    assert not mine, mine
    return "nothing left but the administrator's own drop-in"


def tar(trial: Trial) -> str:
    trial.machine.tell("rm -rf /etc/systemd/system/leadcrm.service.d; cd /root; tar xzf /packages/first.tar.gz")
    trial.machine.tell("cd /root/leadcrm-*/; ./install")
    trial.wait_healthy()
    trial.acknowledged.clear()
    trial.post("from-the-tar")
    with trial.load() as entries:
        trial.machine.tell("cd /root/leadcrm-*/; ./install")
    trial.machine.tell("cd /root/leadcrm-*/; ./install --remove; test -s /var/lib/private/leadcrm/leadcrm.db")
    return f"installed, installed again under load ({summary(entries)}), removed; leads are kept"


STEPS: tuple[Callable[[Trial], str], ...] = (
    install,
    settings_and_data_are_closed,
    security,
    log,
    stop_and_start,
    restart_under_load,
    replace_under_load,
    upgrade_under_load,
    crash,
    hang,
    wrong_configuration,
    secrets,
    two_workers,
    commands,
    embedded_profile,
    remove_and_install_again,
    purge,
    tar,
)


def main(folder: Path, kernel: Path) -> None:
    started = monotonic()
    machine = Machine(folder, kernel, free_port())
    try:
        print(
            f"booted in {monotonic() - started:.0f} s: {machine.tell('systemctl --version | head -1; uname -r')}",
            flush=True,
        )
        with tempfile.TemporaryDirectory() as journals:
            trial = Trial(machine, Path(journals))
            for step in STEPS:
                began = monotonic()
                told = step(trial)
                print(f"ok {monotonic() - began:4.0f} s  {step.__name__.replace('_', ' ')}: {told}", flush=True)
        print(f"all {len(STEPS)} steps passed in {monotonic() - started:.0f} s")
    except Exception:
        print(machine.run("journalctl --no-pager -n 120 -u 'leadcrm*' | grep -v 'request_id'")[1], file=sys.stderr)
        raise
    finally:
        machine.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
