"""What axe finds wrong with the page that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.conftest import Studio

AXE = Path(__file__).parent / "vendor" / "axe.min.js"


def serious_faults(studio: Studio) -> dict[str, Any]:
    studio.page.evaluate(AXE.read_text(encoding="utf-8"))
    results = studio.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return {
        fault["id"]: [node["html"] for node in fault["nodes"]]
        for fault in results["violations"]
        if fault["impact"] in ("serious", "critical")
    }
