"""The supervisor: several workers on one listening socket.

It forks the workers, restarts one that died (with backoff) and passes a stop on once. It has one thread and no event
loop: it waits for signals instead of handling them, so no handler can run between two of its lines.

A worker asks the kernel to end it with its parent, so a killed supervisor leaves no orphan.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from leadcrm.errors import EXIT_DONE, EXIT_FAILED
from leadcrm.process.parent_death import end_with_parent

TICK_S = 0.5

POLL_S = 0.05
"""How soon a signal is noticed."""

STABLE_S = 5.0
"""A worker that lived this long was healthy: its next death starts the backoff anew."""

FIRST_RESTART_S = 0.1
MAX_RESTART_S = 10.0

KILL_AFTER_S = 5.0
"""Seconds after the shutdown timeout until a worker that still lives is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

logger = logging.getLogger("leadcrm.process.supervisor")


@dataclass
class _Child:
    number: int
    pid: int
    started_at: float
    failures: int


def _next_signal(timeout_s: float) -> int | None:
    """Wait for a blocked signal and return it, or None after the timeout.

    Python's `sigtimedwait` cannot be used: when the process is suspended for longer than its timeout, it reports a
    signal that never came.
    """
    ends_at = monotonic() + timeout_s
    while not (pending := signal.sigpending() & set(_SIGNALS)):
        left_s = ends_at - monotonic()
        if left_s <= 0:
            return None
        sleep(min(left_s, POLL_S))
    return signal.sigwait(pending)


class Supervisor:
    """Keeps `workers` children alive until a signal stops it."""

    def __init__(
        self,
        run_child: Callable[[int], bool],
        *,
        workers: int,
        shutdown_timeout_s: float,
        before_fork: Callable[[], None],
        on_tick: Callable[[], None],
        on_stop: Callable[[], None],
        is_outdated: Callable[[], bool],
    ) -> None:
        """Take the parts that differ between services.

        Args:
            run_child: runs in a child, with its number counted from 0; returns False where requests were cut off.
            workers: how many children there are.
            shutdown_timeout_s: how long a child may take to stop.
            before_fork: ends the threads of this process, which a fork would not copy.
            on_tick: called twice a second; what it raises is logged.
            on_stop: called once the children have been signalled to stop.
            is_outdated: says whether the program must start anew.
        """
        self._run_child = run_child
        self._workers = workers
        self._shutdown_timeout_s = shutdown_timeout_s
        self._before_fork = before_fork
        self._on_tick = on_tick
        self._on_stop = on_stop
        self._is_outdated = is_outdated
        self._children: dict[int, _Child] = {}
        self._restart_at: dict[int, tuple[float, int]] = {}
        self._all_answered = True

    def run(self) -> int | None:
        """Supervise until a signal, and return the exit status.

        Returns:
            None once the program is outdated and the children have ended.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for number in range(self._workers):
            self._fork(number, failures=0)
        while True:
            received = _next_signal(TICK_S)
            if received not in (None, signal.SIGCHLD):
                self._signal_all(signal.SIGTERM)
                self._on_stop()
                return self._await_children()
            self._reap()
            self._restart_dead()
            if self._is_outdated():
                logger.info("a file has changed, starting anew", extra={"action": "reload"})
                self._signal_all(signal.SIGTERM)
                self._await_children()
                return None
            self._tick()

    def _tick(self) -> None:
        try:
            self._on_tick()
        except Exception:
            # The children serve without it.
            text = "the supervisor failed at what it does beside its workers"
            logger.exception(text, extra={"action": "worker", "repeat_key": text})

    def _fork(self, number: int, failures: int) -> None:
        self._before_fork()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._run_as_child(number, parent)
        self._children[pid] = _Child(number, pid, monotonic(), failures)

    def _run_as_child(self, number: int, parent: int) -> None:
        status = EXIT_FAILED
        try:
            end_with_parent()
            if os.getppid() != parent:
                # The supervisor ended before the kernel was asked.
                os._exit(EXIT_FAILED)
            # SIGTERM and SIGINT stay blocked until the child handles them, so a stop during its start is orderly too.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
            status = EXIT_DONE if self._run_child(number) else EXIT_FAILED
        except BaseException:
            logger.exception("a worker failed", extra={"action": "worker", "worker": number})
        finally:
            # Not sys.exit, which would unwind the parent's stack in the child.
            logging.shutdown()
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            self._all_answered = self._all_answered and code == EXIT_DONE
            lived_s = monotonic() - child.started_at
            failures = 0 if lived_s > STABLE_S else child.failures + 1
            delay_s = min(FIRST_RESTART_S * 2**failures, MAX_RESTART_S)
            self._restart_at[child.number] = (monotonic() + delay_s, failures)
            if code != EXIT_DONE:
                logger.error(
                    "a worker died",
                    extra={"action": "worker", "worker": child.number, "exit_code": code},
                )

    def _restart_dead(self) -> None:
        for number, (at, failures) in tuple(self._restart_at.items()):
            if monotonic() >= at:
                try:
                    self._fork(number, failures)
                except OSError as error:
                    # Memory or processes have run out, as where the kernel has just killed the child for its memory.
                    self._restart_at[number] = (monotonic() + MAX_RESTART_S, failures)
                    text = "a worker cannot be started: %s"
                    logger.warning(
                        text, error.strerror, extra={"action": "worker", "worker": number, "repeat_key": text}
                    )
                else:
                    del self._restart_at[number]

    def _await_children(self) -> int:
        self._all_answered = True
        ends_at = monotonic() + self._shutdown_timeout_s + KILL_AFTER_S
        while self._children:
            received = _next_signal(TICK_S)
            if received not in (None, signal.SIGCHLD):
                # The workers judge whether it repeats the first signal or asks to stop at once.
                self._signal_all(signal.SIGTERM)
            self._reap()
            if monotonic() > ends_at:
                self._signal_all(signal.SIGKILL)
        return EXIT_DONE if self._all_answered else EXIT_FAILED

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._children:
            os.kill(pid, number)
