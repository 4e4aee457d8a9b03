"""Bring up a PostgreSQL cluster that fails over, with two leadcrm nodes and a balancer, on loopback.

etcd, three PostgreSQL under Patroni with synchronous replication, HAProxy in front of them and in front of the nodes.
It needs neither root nor a service of this machine, prints the URLs, and ends with Ctrl-C; then its files are deleted.
What is missing is fetched into .cluster: etcd and HAProxy from Debian's archive, Patroni from PyPI, of pinned versions.

examples:
  scripts/cluster
  scripts/cluster --kill-primary
  scripts/cluster --trial
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from failover.cluster import Cluster
from failover.faults import Faults
from failover.trial import COLUMNS, Outcome, Trial


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--kill-primary", action="store_true", help="kill the primary under load, and show the figures")
    what.add_argument("--trial", action="store_true", help="try all faults under load: some ten minutes")
    parser.add_argument("--workers", type=int, default=1, help="of each leadcrm node (default: 1)")
    parser.add_argument("--by-haproxy", action="store_true", help="node b reaches PostgreSQL through HAProxy")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    cluster = Cluster(workers=arguments.workers, nodes_by="haproxy" if arguments.by_haproxy else "hosts")
    try:
        cluster.start()
        show(cluster)
        if arguments.kill_primary or arguments.trial:
            return try_faults(cluster, {"primary killed -9"} if arguments.kill_primary else None)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\nending", flush=True)
    finally:
        cluster.stop()
    return 0


def show(cluster: Cluster) -> None:
    """Print where everything is."""
    node_a, node_b = (f"http://127.0.0.1:{node.port}" for node in cluster.nodes)
    primary = cluster.primary
    lines = {
        "leads and studio, balanced": f"http://127.0.0.1:{cluster.ports['leads']}/studio",
        "node a, node b": f"{node_a}  {node_b}",
        "ADMIN_TOKEN": cluster.token,
        "PostgreSQL": cluster.url(),
        "by HAProxy": f"primary 127.0.0.1:{cluster.ports['writer']}, standbys 127.0.0.1:{cluster.ports['reader']}",
        "Patroni": "  ".join(f"{one.name} http://127.0.0.1:{one.rest_port}/cluster" for one in cluster.members),
        "primary": primary.name if primary else "none",
        "logs": str(cluster.folder),
    }
    for name, text in lines.items():
        print(f"{name + ':':28}{text}", flush=True)


def try_faults(cluster: Cluster, names: set[str] | None) -> int:
    """Try faults and print a row for each; the exit status is 1 if a promise was broken."""
    trial = Trial(cluster)
    outcomes: list[Outcome] = []
    print(f"\n| {' | '.join(COLUMNS)} |\n|---{'|--:' * (len(COLUMNS) - 1)}|", flush=True)
    for fault, break_it in Faults(cluster).all():
        if names is None or fault in names:
            outcome = trial.run(fault, break_it)
            outcomes.append(outcome)
            print(f"| {' | '.join((fault, *outcome.cells))} |", flush=True)
    broken = {outcome.fault: outcome.broken for outcome in outcomes if outcome.broken}
    for fault, found in broken.items():
        print(f"{fault}: {found}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
