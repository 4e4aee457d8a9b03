"""The chart: leads a second as groups of bars, as an SVG that is legible on light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from benchmark.rounds import Cells

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 920, 370, 70
BAR_HEIGHT, GROUP_GAP, TOP = 15, 12, 64
COLOURS = {"leadcrm": "#2f81f7", "peer": "#8b949e", "floor": "#d29922"}


def chart(cells: Cells, labels: Mapping[str, str]) -> str:
    """Return the chart as SVG."""
    counts = sorted({connections for _, connections in cells if connections > 1})[:2]
    systems = sorted(
        (name for name in labels if any((name, count) in cells for count in counts)),
        key=lambda name: -max(cells[name, count].rate for count in counts if (name, count) in cells),
    )
    highest = max((cell.rate for (_, count), cell in cells.items() if count in counts), default=1)
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / highest
    parts: list[str] = []
    y = TOP
    for name in systems:
        group = [(count, cells[name, count]) for count in counts if (name, count) in cells]
        middle = y + len(group) * BAR_HEIGHT / 2 + 4
        parts.append(f'<text x="{LABEL_WIDTH - 10}" y="{middle:.0f}" text-anchor="end">{escape(labels[name])}</text>')
        for count, cell in group:
            opacity = 1 if count == counts[0] else 0.55
            parts.append(
                f'<rect x="{LABEL_WIDTH}" y="{y}" width="{max(1, cell.rate * scale):.0f}" height="{BAR_HEIGHT - 2}" '
                f'rx="2" fill="{COLOURS[_sort(name)]}" opacity="{opacity}"/>'
                f'<text x="{LABEL_WIDTH + cell.rate * scale + 6:.0f}" y="{y + 11}">{cell.rate:,.0f}</text>'
            )
            y += BAR_HEIGHT
        y += GROUP_GAP
    title = " (pale) and ".join(map(str, reversed(counts))) if counts else ""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#808890" role="img" '
            'aria-label="Leads a second, leadcrm and its peers">',
            '<text x="10" y="22" font-size="16" font-weight="600">Leads a second, each on stable storage before its '
            "answer</text>",
            f'<text x="10" y="42">{title} connections; client, server and database share the cores; '
            "the floor stores nothing, PocketBase does not sync each commit</text>",
            *parts,
            "</svg>\n",
        ]
    )


def _sort(name: str) -> str:
    return next((sort for sort in ("leadcrm", "floor") if name.startswith(sort)), "peer")
