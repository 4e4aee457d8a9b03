"""`scripts/bench`: the command line."""

from __future__ import annotations

import argparse
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmark.chart import chart
from benchmark.feed import feed
from benchmark.load import find_wrk
from benchmark.machine import describe
from benchmark.peers import BUILD
from benchmark.pruning import prune
from benchmark.report import table
from benchmark.rounds import Sample, cells, run_rounds
from benchmark.scale import drain, export, growth, memory
from benchmark.sinks import sinks
from benchmark.stages import stages
from benchmark.systems import EXECUTABLE, KINDS, REPOSITORY, Kind, System, twin
from tests.support.postgres import Installation, PostgresCluster

RESULTS = Path(__file__).parent / "results"

EXAMPLES = """examples:
  scripts/bench                                   every system, five rounds: about twenty minutes
  scripts/bench --quick                           the main systems, under two minutes
  scripts/bench --systems leadcrm-postgres-1 original --connections 1 64
  scripts/bench growth                            five million rows against empty tables: half an hour, 20 GB of disk
  scripts/bench --against HEAD~3 --systems leadcrm-postgres-1 --connections 64
                                                  leadcrm beside its own earlier revision
"""

QUICK_SYSTEMS = (
    "leadcrm-postgres-1",
    "leadcrm-sqlite-1",
    "original",
    "fastify-pg-no-log",
    "pocketbase",
    "pocketbase-full",
    "floor-1",
)


def main() -> None:
    """Measure and report."""
    arguments = _parse()
    find_wrk()
    if arguments.what != "peers":
        _scale(arguments)
        return
    kinds = _chosen(arguments.systems, arguments.against)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lead-bench-")))
        installation = Installation()
        stack.callback(installation.remove)
        cluster = installation.new_cluster()
        cluster.start()
        stack.callback(cluster.stop)
        _grow_log(cluster)
        machine = describe(_git("describe", "--always", "--dirty"))
        systems = []
        for name, kind in kinds.items():
            systems.append(stack.enter_context(System(name, kind, cluster, folder / name)))
        samples = run_rounds(systems, arguments.connections, rounds=arguments.rounds, seconds=arguments.seconds)
        _check_stored(systems, samples, arguments.seconds)
    labels = {name: kind.label for name, kind in kinds.items()}
    durability = {name: kind.durability for name, kind in kinds.items()}
    how = (
        f"Medians of {arguments.rounds} interleaved rounds of {arguments.seconds:g} s each, a warm-up before each; "
        "unique keys, 14 fields, logs on."
    )
    text = table(cells(samples), labels, durability, machine, how)
    print(f"\n{text}")
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "table.md").write_text(text)
        (arguments.output / "chart.svg").write_text(chart(cells(samples), labels))
        print(f"written to {arguments.output}")


def _grow_log(cluster: PostgresCluster) -> None:
    """Grow PostgreSQL's log to half a gigabyte of files, as on a server that has run for a while.

    PostgreSQL then reuses these files. Creating a new one, every 16 MB, delays all commits by about 50 ms.
    """
    for _ in range(80):
        cluster.execute("SELECT pg_logical_emit_message(false, 'bench', repeat('x', 16 * 1024 * 1024))")
    cluster.execute("CHECKPOINT")


def _scale(arguments: argparse.Namespace) -> None:
    """Run the measurement in `arguments.what` and write its result."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lead-bench-")))
        installation = Installation()
        stack.callback(installation.remove)
        cluster = installation.new_cluster()
        cluster.start()
        stack.callback(cluster.stop)
        if arguments.what == "growth":
            rows = arguments.rows or 5_000_000
            text = growth(cluster, folder, rows=rows, rounds=arguments.rounds, seconds=arguments.seconds)
        elif arguments.what == "export":
            rows = arguments.rows or 1_000_000
            text = export(cluster, folder, rows=rows, rounds=arguments.rounds, seconds=arguments.seconds)
        elif arguments.what == "prune":
            rows = arguments.rows or 500_000
            text = prune(cluster, folder, rows=rows, rounds=arguments.rounds, seconds=arguments.seconds)
        elif arguments.what == "feed":
            text = feed(cluster, folder, rounds=arguments.rounds, seconds=arguments.seconds)
        elif arguments.what == "sinks":
            text = sinks(cluster, folder, rounds=arguments.rounds, seconds=arguments.seconds)
        elif arguments.what == "memory":
            text = memory(cluster, folder, leads=arguments.leads)
        elif arguments.what == "stages":
            text = stages(cluster, folder, seconds=arguments.seconds)
        else:
            text = drain(cluster, folder)
    print(f"\n{text}")
    output = arguments.output or RESULTS
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{arguments.what}.md").write_text(f"{text}\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures leadcrm beside its peers on this machine, in interleaved rounds.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="peers",
        choices=("peers", "growth", "export", "prune", "feed", "sinks", "memory", "drain", "stages"),
        help="the peers (default); full tables; during an export; beside prune; without the feed; beside sinks that "
        "fail; memory of a million leads; the spool's drain; CPU time by stage",
    )
    parser.add_argument(
        "--rows",
        type=int,
        help="rows of the full tables of growth, export and prune (default: 5,000,000; 1,000,000; 500,000)",
    )
    parser.add_argument("--leads", type=int, default=1_000_000, help="leads of memory (default: %(default)s)")
    parser.add_argument("--systems", nargs="+", choices=[*KINDS, "all"], metavar="NAME", help=", ".join(KINDS))
    parser.add_argument("--connections", nargs="+", type=int, metavar="N", help="connections (default: 1 64 256)")
    parser.add_argument(
        "--seconds", type=float, help="seconds of each measurement (default: 8, for feed, prune, sinks: 1)"
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 5, for feed, prune, sinks: 60)")
    parser.add_argument("--quick", action="store_true", help="the main systems, one round of 2 s, no files")
    parser.add_argument("--against", metavar="REVISION", help="also measure leadcrm at that revision")
    parser.add_argument(
        "--output", type=Path, help=f"folder of the results (default: {RESULTS.relative_to(REPOSITORY)})"
    )
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.systems = arguments.systems or (list(QUICK_SYSTEMS) if quick else ["all"])
    arguments.connections = arguments.connections or [1, 64, 256]
    in_turns = arguments.what in ("feed", "prune", "sinks")
    arguments.seconds = arguments.seconds or (1 if in_turns else 2 if quick else 8)
    arguments.rounds = arguments.rounds or (60 if in_turns else 1 if quick else 5)
    if arguments.output is None and not quick and arguments.systems == ["all"] and not arguments.against:
        arguments.output = RESULTS
    return arguments


def _chosen(names: Sequence[str], against: str | None) -> dict[str, Kind]:
    kinds = {name: kind for name, kind in KINDS.items() if name in names or "all" in names}
    if not EXECUTABLE.exists() and "leadcrm-executable" in kinds:
        del kinds["leadcrm-executable"]
        print(f"bench: {EXECUTABLE.relative_to(REPOSITORY)} is missing and left out: build it with scripts/build")
    if against:
        source = _checkout(against)
        for name in [name for name in kinds if name.startswith("leadcrm") and name != "leadcrm-executable"]:
            kinds[f"{name}-before"] = twin(name, source)
    return kinds


def _checkout(revision: str) -> Path:
    """Return a folder with the sources of a revision."""
    source = BUILD / "against" / _git("rev-parse", revision)
    if not source.exists():
        packed = subprocess.run(["git", "archive", revision], cwd=REPOSITORY, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(source, filter="data")
    return source


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()


def _check_stored(systems: Sequence[System], samples: Sequence[Sample], seconds: float) -> None:
    """Report every system that holds fewer leads than it acknowledged."""
    for system in systems:
        stored = system.stored()
        acknowledged = sum(sample.rate * seconds for sample in samples if sample.system == system.name)
        if stored is not None and stored < acknowledged * 0.99:
            print(f"bench: {system.kind.label} answered {acknowledged:,.0f} leads and holds {stored:,}")


if __name__ == "__main__":
    main()
