"""`leadcrm serve` from start to end: the data folder, the socket, the database, the workers.

Reads top to bottom as what happens when the service starts.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Mapping
from time import monotonic

from leadcrm.configuration.config import Config
from leadcrm.database.data_dir import LOCK_FILE, hold, make_data_dir
from leadcrm.database.migrations import migrate, status
from leadcrm.database.postgres import deadline
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, AddressInUse, ConfigError, DataDirInUse, StoreUnavailable
from leadcrm.ingest.ingestion import prepare_spool
from leadcrm.logs.setup import LogWriter
from leadcrm.process import systemd
from leadcrm.process.reload import Sources, start_anew
from leadcrm.process.supervisor import Supervisor
from leadcrm.web.node_metrics import NodeMetrics
from leadcrm.web.rate_limit import RateLimiter
from leadcrm.web.worker import LISTEN_BACKLOG, run_worker

PROGRESS_S = 10.0
"""Within this a worker's loop and its writer must have passed a checkpoint, or the watchdog is not fed."""

START_PATIENCE_S = 1.0
"""How long a start waits for the database: leads that come meanwhile are to be answered within three seconds."""

logger = logging.getLogger("leadcrm.process.service")


def serve(config: Config, log: LogWriter, environ: Mapping[str, str], *, may_migrate: bool) -> int:
    """Run the service until a signal and return the exit status.

    Raises `ConfigError`, `AddressInUse`, `DataDirInUse`, `SchemaTooNew` and `ForeignTables`; a database that is away
    is no reason not to start.
    """
    make_data_dir(config.data_dir)
    with hold(config.data_dir, config.database.path) as held:
        if not held:
            raise DataDirInUse(
                f"{config.data_dir} is held by another command: a restore is under way",
                hint=f"wait for it; `fuser {config.data_dir / LOCK_FILE}` names it",
            )
        return _serve(config, log, environ, may_migrate=may_migrate)


def _serve(config: Config, log: LogWriter, environ: Mapping[str, str], *, may_migrate: bool) -> int:
    prepare_spool(config)
    activated = systemd.listen_socket(environ)
    listener = activated or _listen(config.host, config.port)
    if may_migrate:
        _migrate_if_reachable(config)
    node_metrics = NodeMetrics(config.workers)
    limiter = RateLimiter(config.rate_limit) if config.rate_limit else None
    feed = _watchdog(node_metrics, environ)
    logger.info("listening", extra={"action": "start", "address": _shown(listener.getsockname())})

    def run(
        number: int,
        on_ready: Callable[[], None] = _do_nothing,
        on_checkpoint: Callable[[], None] = _do_nothing,
        on_stop: Callable[[], None] = _do_nothing,
    ) -> bool:
        return run_worker(
            config,
            listener,
            node_metrics,
            number,
            log,
            limiter,
            may_migrate=may_migrate,
            owns_listener=activated is None,
            on_ready=on_ready,
            on_checkpoint=on_checkpoint,
            on_stop=on_stop,
        )

    if config.workers == 1 and config.environment == "production":
        all_answered = run(0, _say_ready, feed, _say_stopping)
        return EXIT_DONE if all_answered else EXIT_FAILED

    is_ready = False

    def tick() -> None:
        nonlocal is_ready
        if not is_ready and all(worker.get("serving") for worker in node_metrics):
            is_ready = True
            _say_ready()
        feed()

    def stop() -> None:
        _say_stopping()
        # While any process holds the socket, the kernel takes on connections that nobody will answer.
        listener.close()

    supervisor = Supervisor(
        run,
        workers=config.workers,
        shutdown_timeout_s=config.shutdown_timeout_s,
        before_fork=log.close,
        on_tick=tick,
        on_stop=stop,
        is_outdated=Sources().have_changed if config.environment == "development" else lambda: False,
    )
    status = supervisor.run()
    if status is None:
        log.close()
        start_anew(listener)
    return status


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `AddressInUse`, `ConfigError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(LISTEN_BACKLOG)
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


def _shown(address: object) -> str:
    """Return an address as people write it: host and port, or the path of a Unix socket."""
    return ":".join(map(str, address[:2])) if isinstance(address, tuple) else str(address)


def _migrate_if_reachable(config: Config) -> None:
    try:
        # Senders wait at the socket already; a database that answers later is migrated by the workers.
        with deadline(START_PATIENCE_S):
            status(config.database, timeout_s=START_PATIENCE_S)
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


def _do_nothing() -> None:
    pass


def _say_ready() -> None:
    systemd.notify("READY=1")


def _say_stopping() -> None:
    systemd.notify("STOPPING=1")


def _watchdog(node_metrics: NodeMetrics, environ: Mapping[str, str]) -> Callable[[], None]:
    """Return what feeds systemd's watchdog, when due and while every worker makes progress."""
    interval_s = systemd.watchdog_interval_s(environ)
    if interval_s is None:
        return _do_nothing
    fed_at = 0.0

    def feed() -> None:
        nonlocal fed_at
        now = monotonic()
        if now - fed_at < interval_s / 2:
            return
        if all(min(worker.get("loop_seen"), worker.get("writer_seen")) > now - PROGRESS_S for worker in node_metrics):
            fed_at = now
            systemd.notify("WATCHDOG=1", environ)

    return feed
