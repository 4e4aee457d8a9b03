"""Assembles one process's ingestion from the configuration: writer, spool and recovery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

from leadcrm.configuration.config import Config
from leadcrm.database.connections import Connection
from leadcrm.database.data_dir import nearest_folder
from leadcrm.database.file_check import look_through
from leadcrm.database.migrations import migrate
from leadcrm.database.overwritten import describe_overwriting
from leadcrm.database.sessions import bind
from leadcrm.database.slots import ConnectionSlots
from leadcrm.database.sqlite import file_bytes, free_bytes, log_of
from leadcrm.database.used_databases import describe_change, note_use, what_to_do
from leadcrm.errors import (
    ForeignTables,
    LeadcrmError,
    SchemaTooNew,
    SchemaTooOld,
    SpoolFull,
    StoreDamaged,
    StoreUnavailable,
)
from leadcrm.feed.pruning import prune_feed
from leadcrm.ingest.leisure import Leisure
from leadcrm.ingest.opening import open_spool, open_store
from leadcrm.ingest.queue_budget import QueueBudget
from leadcrm.ingest.recovery import Recovery
from leadcrm.ingest.replay import Postponed, replay_failed, replay_postponed
from leadcrm.ingest.rewinding import Rewinding
from leadcrm.ingest.sourced import SourceRows
from leadcrm.ingest.spool.spool import SpoolStatus
from leadcrm.ingest.store.store import Standing, Store
from leadcrm.ingest.writer import Writer
from leadcrm.sources.live import LiveSources

REFUSAL_CACHE_S = 2.0
"""How long a refused lead keeps /health at 503. It must expire: a node out of rotation gets no lead that could clear
it."""

INSPECTION_S = 0.5
"""How long an embedded database is looked through for damage before leads go there: half of what the start waits."""

MAX_INSPECTION_S = 60.0
"""The same after a batch has met damage."""

FIRST_PRUNE_S = 60.0
"""When old events of the feed are first deleted after a start. What a sink has still to read stays while a node has
that sink: one that was off for long, or whose clock was set forward, must have taken its sinks back before."""

REPLAY_WAIT_S = 5.0
"""How long a replay waits for an answer of the database: the writer waits for the same thread to reconnect it."""

logger = logging.getLogger("leadcrm.ingest.ingestion")


@dataclass(frozen=True, slots=True)
class DatabaseNow:
    """What one worker knows of the database.

    Attributes:
        connected_at: When its leads began to go there (Unix time); 0 before.
        fault: What it waits for, in words that anyone may read; empty while leads go there.
    """

    is_up: bool
    connected_at: float
    standing: Standing
    fault: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a lead sent now would be kept, with the parts of that verdict.

    Attributes:
        schema_version: None while the database is away.
        spool: None if spooling is off or the spool cannot be read.
        fault: The faults, in words for the operator; empty if there are none.
        has_room: Whether the database's disk has room, if it is this node's.
        file_bytes: The sizes of the SQLite files: `database`, `database_log`, `spool` and `spool_log`.
    """

    keeps_leads: bool
    database: bool
    schema_version: int | None
    spool: SpoolStatus | None
    disk_free_bytes: int
    fault: str
    file_bytes: Mapping[str, int] = field(default_factory=dict)
    has_room: bool = True


def _warn_of_no_room() -> None:
    text = "leads are refused: those that wait to be written fill the memory for them"
    hint = "look at the database's speed, or raise QUEUE_BYTES"
    logger.warning(text, extra={"action": "refuse", "hint": hint, "repeat_key": text})


def _is_recent(refused_at: float | None) -> bool:
    return refused_at is not None and monotonic() - refused_at < REFUSAL_CACHE_S


class Ingestion:
    """One process's ingestion: its writer, its spool and its recovery."""

    def __init__(
        self,
        config: Config,
        *,
        may_migrate: bool,
        sources: LiveSources | None = None,
        slots: ConnectionSlots | None = None,
    ) -> None:
        """Assemble the parts; nothing is opened before `start`.

        Args:
            config: The configuration.
            may_migrate: Pending migrations are applied when the database is reached.
            sources: The sources as they were read at the start; None to read them now.
            slots: For the connections to PostgreSQL of draining and replaying; None if they are not limited.
        """
        self._config = config
        self._may_migrate = may_migrate
        self._inode: int | None = None
        self._verdict_spool = open_spool(config)
        self._is_spool_proven = False
        self.budget = QueueBudget(config.queue_bytes, largest_bytes=config.max_body_bytes, on_refusal=_warn_of_no_room)
        self.sources = sources or LiveSources(config, slots)
        self.source_rows = SourceRows(self.sources, max_decoded_bytes=config.max_body_bytes)
        self.writer = Writer(open_spool(config), self._wake_recovery, self.budget)
        self._rewinding = Rewinding(self.writer, config.database.schema)
        self._recovery = Recovery(
            self.writer,
            open_spool(config),
            self._connect,
            self._replay_failed,
            max_decoded_bytes=config.max_body_bytes,
            database=config.database.path,
            inspect=self._inspect,
            replay_postponed=self._replay_postponed,
            sources=self.source_rows,
            slots=slots,
            prune_feed=self._prune_feed,
            first_prune_s=FIRST_PRUNE_S,
        )
        self.leisure = Leisure(max_decoded_bytes=config.max_body_bytes)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads of writer and recovery; futures resolve on `loop`."""
        self.writer.start(loop)
        self._recovery.start()
        self.sources.start()

    def replay_soon(self) -> None:
        """Make the lead of a row that was kept as postponed, in the recovery's own time."""
        self._recovery.replay_soon()

    def wait_for_database(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for the first attempt to connect. Blocks: call it in a thread."""
        ends_at = monotonic() + timeout_s
        self._recovery.wait_for_first_attempt(timeout_s)
        self.sources.wait_for_first_attempt(max(0.0, ends_at - monotonic()))

    def stop(self) -> None:
        """Keep all queued submissions, then end the threads. Blocks until then."""
        self.sources.stop()
        self.writer.stop()
        self._recovery.stop()

    def database_now(self) -> DatabaseNow:
        """Return what this worker knows of the database now."""
        writer = self.writer
        is_up = writer.has_store
        return DatabaseNow(is_up, writer.connected_at, writer.standing, "" if is_up else self._database_fault())

    def verdict(self) -> Verdict:
        """Return the present verdict. Reads disk and spool: call it in one thread at a time, not in the event loop."""
        config, writer = self._config, self.writer
        faults: list[str] = []
        free = self._free_bytes(faults)
        has_room = config.database.path is None or free >= config.min_free_bytes
        database = writer.has_store and has_room
        if writer.has_store and not has_room:
            faults.append("the database is away")
        has_refused = _is_recent(writer.refused_at)
        is_refusing = has_refused or writer.is_stuck
        if is_refusing:
            faults.append("the latest leads could not be kept")
        if config.database.path is not None and (overwriting := describe_overwriting(config.database.path)):
            faults.append(overwriting)
        if config.uses_data_dir and (change := describe_change(config.data_dir)):
            faults.append(f"{change}; {what_to_do(config.data_dir)}")
        if self._rewinding.fault:
            faults.append(self._rewinding.fault)
        if has_no_room := _is_recent(self.budget.refused_at):
            faults.append("leads that wait fill the memory for them (QUEUE_BYTES), so that others are refused")
        if self.sources.fault:
            faults.append(self.sources.fault)
        if database and self._recovery.is_stuck:
            faults.append(
                "what waits in the spool, or to be read again, cannot be brought into the database: see the log"
            )
        spool, spool_keeps = self._look_at_spool(faults)
        # A spool that has room, but not for the lead that just came, does not say so by itself.
        if is_refusing and isinstance(writer.refusal, SpoolFull) and str(writer.refusal) not in faults:
            faults.append(str(writer.refusal))
        keeps_leads = (database or spool_keeps) and not is_refusing and not has_no_room
        schema_version = writer.standing.schema_version or None
        return Verdict(
            keeps_leads, database, schema_version, spool, free, "; ".join(faults), dict(self._measure_files()), has_room
        )

    def _measure_files(self) -> Iterator[tuple[str, int]]:
        files = {
            "database": self._config.database.path,
            "spool": None if self._verdict_spool is None else self._verdict_spool.path,
        }
        for name, path in files.items():
            if path is not None:
                yield name, file_bytes(path)
                yield f"{name}_log", file_bytes(log_of(path))

    def _database_fault(self) -> str:
        """Return why leads do not go to the database, in words that anyone may read at /ready."""
        fault = self._recovery.fault
        # Only the schema's faults are certain to hold no driver's text.
        if isinstance(fault, (SchemaTooOld, SchemaTooNew, ForeignTables)):
            return str(fault)
        if isinstance(fault, StoreDamaged) or isinstance(self.writer.loss, StoreDamaged):
            return "the database is damaged: `leadcrm check`"
        waits_for = fault.public if isinstance(fault, StoreUnavailable) else ""
        return f"the database is away: {waits_for}" if waits_for else "the database is away"

    def _free_bytes(self, faults: list[str]) -> int:
        try:
            folder = self._config.data_dir
            return free_bytes(folder if self._config.uses_data_dir else nearest_folder(folder))
        except OSError as error:
            # The folder or its disk is gone, but the database may be elsewhere.
            faults.append(f"{self._config.data_dir}: {error.strerror}")
            return 0

    def _look_at_spool(self, faults: list[str]) -> tuple[SpoolStatus | None, bool]:
        """Return the spool's status, or None if it cannot be read, and whether the spool could keep a row."""
        if self._verdict_spool is None:
            return None, False
        status: SpoolStatus | None = None
        try:
            status = self._verdict_spool.status()
            if status.set_aside:
                faults.append(
                    f"damaged and set aside: {', '.join(status.set_aside)}; the log says how many rows were salvaged"
                )
            if status.refused:
                faults.append(f"the database refuses {status.refused} leads, which wait in the spool: `leadcrm check`")
            self._verdict_spool.check()
            # A disk that fails and a file that is read-only show only in a write. It is worth its cost after a lead has
            # failed, and until one has gone well: a healthy database would hide that the spool keeps nothing.
            if self.writer.refused_at is not None or not self._is_spool_proven:
                self._verdict_spool.prove_write()
                self._is_spool_proven = True
        except LeadcrmError as error:
            self._is_spool_proven = False
            faults.append(str(error))
            return status, False
        return status, True

    def end_verdicts(self) -> None:
        """Close the verdicts' spool. Call it in their thread: closing the last connection runs a checkpoint."""
        if self._verdict_spool is not None:
            self._verdict_spool.close()

    def _connect(self) -> Store:
        if self._may_migrate:
            migrate(self._config.database)
            self._may_migrate = False
        self._require_same_file()
        # After a loss to damage, nothing less than the whole file will do: the leads wait in the spool.
        self._inspect(MAX_INSPECTION_S if isinstance(self.writer.loss, StoreDamaged) else INSPECTION_S)
        store = open_store(self._config, self._look_for_last)
        self._note_use(store.standing.made_at)
        return store

    def _look_for_last(self, connection: Connection) -> None:
        """Look for the row that was confirmed last. To a file that was overwritten the spool may bring it back."""
        path = self._config.database.path
        if path is None or describe_overwriting(path) is None:
            self._rewinding.look(connection)

    def _note_use(self, made_at: str) -> None:
        """Note which database the node's leads go to."""
        if not self._config.uses_data_dir:
            return
        try:
            note_use(self._config.data_dir, self._config.database.place, made_at)
        except OSError as error:
            # Leads come first: the folder may be gone while the database is elsewhere.
            text = "it cannot be noted which database is used: %s"
            logger.warning(text, error.strerror, extra={"action": "recover", "repeat_key": text})

    def _inspect(self, timeout_s: float = INSPECTION_S) -> None:
        """Look through the embedded database; raise `StoreDamaged` if it is damaged."""
        path = self._config.database.path
        # A missing file is no damage, and the next step names what to do.
        if path is not None and path.exists():
            look_through(path, timeout_s=timeout_s)

    def _require_same_file(self) -> None:
        """Raise `StoreUnavailable` if the embedded database was deleted or replaced while this process ran.

        Connections to the old file and to the new one would share one log, which damages the new file.
        """
        path = self._config.database.path
        if path is None:
            return
        inode = path.stat().st_ino if path.exists() else None
        if self._inode is None:
            self._inode = inode
        elif inode != self._inode:
            raise StoreUnavailable(
                f"{path} was deleted or replaced while leadcrm ran; leads go to the spool",
                hint="put the file in place and restart leadcrm",
            )

    def _replay_failed(self, is_stopping: Callable[[], bool]) -> int:
        entities = bind(self._config.database, timeout_s=REPLAY_WAIT_S)
        try:
            return replay_failed(
                entities,
                max_decoded_bytes=self._config.max_body_bytes,
                sources=self.source_rows,
                is_stopping=is_stopping,
            )
        finally:
            entities.database.disconnect()

    def _replay_postponed(self) -> Postponed:
        entities = bind(self._config.database, timeout_s=REPLAY_WAIT_S)
        try:
            replayed = replay_postponed(
                entities, max_decoded_bytes=self._config.max_body_bytes, sources=self.source_rows
            )
        finally:
            entities.database.disconnect()
        if replayed.leads:
            logger.info("laborious bodies became leads", extra={"action": "replay", "rows": replayed.leads})
        return replayed

    def _prune_feed(self, is_stopping: Callable[[], bool]) -> int:
        entities = bind(self._config.database)
        try:
            return prune_feed(entities, days=self._config.feed_days, is_stopping=is_stopping)
        finally:
            entities.database.disconnect()

    def _wake_recovery(self) -> None:
        self._recovery.wake()
