"""The report: the table of figures, the targets with the results, the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.rounds import Cell, Cells


@dataclass(frozen=True)
class Target:
    """One target for leadcrm: a lower or upper bound for a measured figure or a ratio of two."""

    says: str
    figure: float | None
    least: float | None = None
    most: float | None = None

    @property
    def line(self) -> str:
        """Return the target as a row of the table."""
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        if self.figure is None:
            return f"| {self.says} | {bound} | not measured | |"
        reached = self.figure >= self.least if self.least is not None else self.figure <= (self.most or 0)
        return f"| {self.says} | {bound} | {self.figure:.2f} | {'reached' if reached else '**missed**'} |"


def targets(cells: Cells) -> list[Target]:
    """Return the targets with the results; the better of one and two workers counts unless the target names one."""

    def of(system: str, connections: int, figure: str) -> float | None:
        cell = cells.get((system, connections))
        return getattr(cell, figure) if cell else None

    def best(database: str, connections: int, figure: str) -> float | None:
        found = [of(f"leadcrm-{database}-{workers}", connections, figure) for workers in (1, 2)]
        known = [value for value in found if value is not None]
        return (max if figure == "rate" else min)(known) if known else None

    def ratio(above: float | None, below: float | None) -> float | None:
        return above / below if above is not None and below else None

    return [
        Target(
            "p50 of a lone connection, PostgreSQL, to Fastify with pg, no request log",
            ratio(of("leadcrm-postgres-1", 1, "p50_ms"), of("fastify-pg-no-log", 1, "p50_ms")),
            most=1,
        ),
        Target(
            "p50 of a lone connection, SQLite, to PocketBase with FULL",
            ratio(of("leadcrm-sqlite-1", 1, "p50_ms"), of("pocketbase-full", 1, "p50_ms")),
            most=1,
        ),
        Target(
            "leads/s at 64 connections, PostgreSQL, to the original's stack",
            ratio(best("postgres", 64, "rate"), of("original", 64, "rate")),
            least=10,
        ),
        Target(
            "leads/s at 64 connections, PostgreSQL, to Fastify with pg, no request log",
            ratio(best("postgres", 64, "rate"), of("fastify-pg-no-log", 64, "rate")),
            least=3,
        ),
        Target(
            "leads/s at 64 connections, SQLite, to PocketBase with NORMAL",
            ratio(best("sqlite", 64, "rate"), of("pocketbase", 64, "rate")),
            least=2.5,
        ),
        Target(
            "leads/s at 256 connections, PostgreSQL, 1 worker, to the bare floor, 1 process",
            ratio(of("leadcrm-postgres-1", 256, "rate"), of("floor-1", 256, "rate")),
            least=0.6,
        ),
        Target(
            "leads/s at 256 connections, PostgreSQL, 2 workers, to 1 worker",
            ratio(of("leadcrm-postgres-2", 256, "rate"), of("leadcrm-postgres-1", 256, "rate")),
            least=1.5,
        ),
        Target(
            "server's CPU µs a lead at 64 connections, PostgreSQL, 1 worker",
            of("leadcrm-postgres-1", 64, "cpu_us"),
            most=50,
        ),
        Target(
            "server's CPU µs a lead at 64 connections, SQLite, 1 worker",
            of("leadcrm-sqlite-1", 64, "cpu_us"),
            most=90,
        ),
        Target(
            "p99 at 64 connections, PostgreSQL, to the original's stack",
            ratio(best("postgres", 64, "p99_ms"), of("original", 64, "p99_ms")),
            most=0.25,
        ),
    ]


def table(
    cells: Cells, labels: Mapping[str, str], durability: Mapping[str, str], machine: Mapping[str, str], how: str
) -> str:
    """Return the report as Markdown."""
    lines = [how, ""]
    for connections in sorted({place[1] for place in cells}):
        lines += [
            f"### {connections} connection{'s' if connections > 1 else ''}",
            "",
            "| system | leads/s | p50 ms | p99 ms | errors | server CPU µs/lead | database CPU µs/lead | memory MB "
            "| durability |",
            "|---|--:|--:|--:|--:|--:|--:|--:|---|",
        ]
        present = [name for name in labels if (name, connections) in cells]
        for name in sorted(present, key=lambda name: -cells[name, connections].rate):
            lines.append(_row(labels[name], cells[name, connections], durability[name]))
        lines.append("")
    lines += ["### Targets", "", "| what | target | measured | |", "|---|--:|--:|---|"]
    lines += [target.line for target in targets(cells)]
    lines += ["", "### Machine", "", *(f"- {name}: {value}" for name, value in machine.items()), ""]
    return "\n".join(lines)


def _row(label: str, cell: Cell, durability: str) -> str:
    database = f"{cell.database_cpu_us:,.0f}" if cell.database_cpu_us else ""
    return (
        f"| {label} | {cell.rate:,.0f} | {cell.p50_ms:.2f} | {cell.p99_ms:.2f} | {cell.errors} "
        f"| {cell.cpu_us:,.0f} | {database} | {cell.memory_mb:,.0f} | {durability} |"
    )
