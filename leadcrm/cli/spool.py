"""Show the rows that wait on local disk for the database, or move them there now.

A running server drains the spool by itself; `drain` is for when none runs.

examples:
  leadcrm spool status
  leadcrm spool drain
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.cli.printing import print_json, print_record, progress
from leadcrm.configuration.config import Config
from leadcrm.database.used_databases import require_used
from leadcrm.errors import EXIT_DONE, EXIT_FAILED
from leadcrm.ingest.opening import open_sources, open_spool, open_store, prepare_spool
from leadcrm.ingest.spool.drain import drain_batch
from leadcrm.ingest.spool.salvage import salvage_all
from leadcrm.ingest.spool.spool import Spool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("status", "drain"))
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Show the spool, or drain it."""
    config = configuration.read(arguments, environ, directory)
    prepare_spool(config)
    spool = open_spool(config)
    if spool is None or not spool.path.exists():
        print_json({"rows": 0}) if arguments.json else print(f"{config.data_dir} has no spool")
        return EXIT_DONE
    try:
        if arguments.action == "drain":
            return _drain(config, spool, as_json=arguments.json)
        return _status(spool, as_json=arguments.json)
    finally:
        spool.close()


def _status(spool: Spool, *, as_json: bool) -> int:
    status = spool.status()
    if as_json:
        print_json(
            {
                "rows": status.depth,
                "refused": status.refused,
                "refusal": status.refusal,
                "bytes": status.bytes,
                "oldest": status.oldest,
                "set_aside": list(status.set_aside),
            }
        )
        return EXIT_DONE
    age_s = int((datetime.now(timezone.utc) - status.oldest).total_seconds()) if status.oldest else 0
    print_record(
        {
            "rows": status.depth,
            "refused by the database": status.refused,
            "for the reason": status.refusal or "",
            "bytes": status.bytes,
            "oldest": f"{age_s} s ago" if status.oldest else "",
            "damaged files set aside": ", ".join(status.set_aside),
        }
    )
    return EXIT_DONE


def _drain(config: Config, spool: Spool, *, as_json: bool) -> int:
    with spool.drain_lock() as may_drain:
        if not may_drain:
            print("a running server is draining it: leadcrm spool status")
            return EXIT_FAILED
        salvage_all(spool, config.database.path)
        spool.release_refused()
        total = spool.status().depth
        sources = open_sources(config)
        store = open_store(config)
        try:
            require_used(config.data_dir, config.database.place, store.standing.made_at)
            done = 0
            with progress("draining") as on_progress:
                while count := drain_batch(spool, store, max_decoded_bytes=config.max_body_bytes, sources=sources):
                    done += count
                    on_progress(done, max(total, done))
        finally:
            store.close()
        after = spool.status()
        done = max(0, done - after.refused)
        if not after.depth:
            spool.compact()
    if as_json:
        print_json({"drained": done, "rows": after.depth, "refused": after.refused})
    else:
        print(f"{done} rows went into {config.database.redacted}")
        if after.refused:
            print(f"{after.refused} wait because the database refuses them: {after.refusal}")
    return EXIT_FAILED if after.refused else EXIT_DONE
