"""`leadcrm serve` from start to end: the data folder, the spool, the sockets, the database, the workers."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from leadcrm.configuration.config import Config
from leadcrm.configuration.tokens import HOW_TO_MAKE, weaknesses
from leadcrm.database.data_dir import LOCK_FILE, claim, hold, make_data_dir
from leadcrm.database.migrations import migrate, migrations_for, status
from leadcrm.database.postgres import deadline
from leadcrm.database.slots import slots_of, slots_of_standby
from leadcrm.database.used_databases import note_place
from leadcrm.delivery.board import DeliveryBoard
from leadcrm.delivery.live import LiveSinks
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, AddressInUse, ConfigError, DataDirInUse, StoreUnavailable
from leadcrm.ingest.opening import prepare_spool
from leadcrm.logs.log_writer import LogWriter
from leadcrm.process import systemd
from leadcrm.process.reload import Sources, start_anew
from leadcrm.process.service_manager import ServiceManager
from leadcrm.process.supervisor import Supervisor
from leadcrm.sources.live import LiveSources
from leadcrm.web.http.connections import listen_backlog
from leadcrm.web.node import Node
from leadcrm.web.node_metrics import NodeMetrics
from leadcrm.web.rate_limit import RateLimiter
from leadcrm.web.worker import run_worker

MOST_DESCRIPTORS = 65_536
"""As the systemd unit has it; no worker holds a quarter as many connections."""

DATABASE_WAIT_S = 1.0
"""How long the start waits for the database: senders already wait at the socket, for three seconds at most."""

logger = logging.getLogger("leadcrm.process.service")


def serve(config: Config, log: LogWriter, environ: Mapping[str, str], *, may_migrate: bool) -> int:
    """Run the service until a signal and return the exit status. A database that is away does not prevent the start.

    Raises:
        SourcesFault: `SOURCES_FILE` cannot be used.
        SinksFault: `SINKS_FILE` cannot be used.
        ConfigError: `HOST`, `PORT`, `DATA_DIR` or a socket from systemd cannot be used.
        AddressInUse: another process listens on the address.
        DataDirInUse: a restore is under way.
        SchemaTooNew: a newer leadcrm has migrated the database.
        ForeignTables: another program made the tables.
    """
    _ignore_idle_signals()
    _raise_descriptor_limit()
    for name, meant in config.misspelt.items():
        text = "%s in .env is no variable and sets nothing"
        logger.warning(text, name, extra={"action": "start", "hint": f"did you mean {meant}?"})
    for weakness in weaknesses(config):
        logger.warning("%s", weakness, extra={"action": "start", "hint": HOW_TO_MAKE})
    # Read now: see `migrations_for`.
    for kind in (config.database.provider, "spool"):
        migrations_for(kind)
    if config.uses_data_dir:
        make_data_dir(config.data_dir)
    slots = slots_of(config)
    sources = LiveSources(config, slots)
    sinks = None if config.sinks_file is None else LiveSinks(config.sinks_file)
    with ExitStack() as stack:
        held = True
        if config.uses_data_dir:
            before = stack.enter_context(claim(config.data_dir, config.database.place))
            if before:
                with suppress(OSError):  # a full disk must not prevent the start
                    note_place(config.data_dir, before)
            held = stack.enter_context(hold(config.data_dir, config.database.path))
        if not held:
            raise DataDirInUse(
                f"{config.data_dir} is held by another command: a restore is under way",
                hint=f"wait for it; `fuser {config.data_dir / LOCK_FILE}` names it",
            )
        logger.info("leads go to %s", config.database.place, extra={"action": "start"})
        prepare_spool(config)
        passed_listeners = systemd.listen_sockets(environ)
        listeners = passed_listeners or (_listen(config.host, config.port),)
        if may_migrate:
            _migrate_if_reachable(config)
        node = Node(
            config=config,
            listeners=listeners,
            owns_listeners=not passed_listeners,
            metrics=NodeMetrics(config.workers),
            slots=slots,
            standby_slots=slots_of_standby(config),
            limiter=RateLimiter(config.rate_limit) if config.rate_limit else None,
            log=log,
            may_migrate=may_migrate,
            sources=sources,
            sinks=sinks,
            board=None if sinks is None else DeliveryBoard(),
        )
        address = ", ".join(_format_address(listener.getsockname()) for listener in listeners)
        logger.info("listening", extra={"action": "start", "address": address})
        manager = ServiceManager(node.metrics, environ)
        if config.workers == 1 and config.environment == "production" and sinks is None:
            all_answered = run_worker(node, 0, on_checkpoint=manager.tick, on_stop=manager.say_stopping)
            return EXIT_DONE if all_answered else EXIT_FAILED
        return _serve_in_children(node, manager, sinks)


def _ignore_idle_signals() -> None:
    """Let no signal end the service that tools send to daemons in good faith, such as logrotate after a rotation.

    The end of a terminal still ends what was started in it.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2, *(() if os.isatty(0) else (signal.SIGHUP,))):
        signal.signal(number, signal.SIG_IGN)


def _raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system does: a shell starts programs with 1,024, and each sender takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_in_children(node: Node, manager: ServiceManager, sinks: LiveSinks | None) -> int:
    """Run the workers, and what delivers, as children of this process.

    In development, start anew when a source file changes.
    """

    def stop() -> None:
        manager.say_stopping()
        # While any process holds a socket, the kernel accepts connections that no worker will answer.
        for listener in node.listeners:
            listener.close()

    def run_child(number: int) -> bool:
        if sinks is not None and node.board is not None and number == node.config.workers:
            for listener in node.listeners:
                listener.close()
            # Imported here: its HTTP client takes a tenth of a second, which a start without sinks need not pay.
            from leadcrm.delivery.dispatch import run_dispatcher  # noqa: PLC0415

            return run_dispatcher(node.config, sinks, node.board, node.slots)
        return run_worker(node, number)

    def tick() -> None:
        manager.tick()
        if node.sources is not None:
            # A worker that takes the place of a dead one begins with this process's sources.
            node.sources.look()

    exit_status = Supervisor(
        run_child,
        workers=node.config.workers + (sinks is not None),
        shutdown_timeout_s=node.config.shutdown_timeout_s,
        before_fork=node.log.close,
        on_tick=tick,
        on_stop=stop,
        is_outdated=Sources().have_changed if node.config.environment == "development" else lambda: False,
    ).run()
    if exit_status is None:
        node.log.close()
        start_anew(node.listeners)
    return exit_status


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        AddressInUse: another process listens on the address.
        ConfigError: the host has no such address, or the port is reserved.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(listen_backlog())
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"port {port} on {host} is taken by another process",
                hint=f"stop that process, or set PORT; `ss -ltnp 'sport = :{port}'` names it",
            ) from error
        fault = f"cannot listen on {host}:{port}: {error.strerror}"
        if error.errno == errno.EACCES:
            accepted = "a port from 1024 on, or any for a process with CAP_NET_BIND_SERVICE"
            raise ConfigError("PORT", fault, accepted) from error
        raise ConfigError("HOST", fault, "an address of this host") from error
    listener.setblocking(False)
    return listener


def _format_address(address: object) -> str:
    """Return host and port as people write them, or the path of a Unix socket."""
    return ":".join(map(str, address[:2])) if isinstance(address, tuple) else str(address)


def _migrate_if_reachable(config: Config) -> None:
    """Apply pending migrations, unless the database is away: the workers then migrate it when it is back."""
    try:
        with deadline(DATABASE_WAIT_S):
            status(config.database, timeout_s=DATABASE_WAIT_S)
        for migration in migrate(config.database):
            logger.info(
                "migration applied",
                extra={"action": "migrate", "version": migration.version, "migration": migration.name},
            )
    except StoreUnavailable as error:
        logger.warning(
            "the database is away; the service starts without it: %s",
            error,
            extra={"action": "start", "hint": error.hint},
        )
