"""The studio's modules in Node, without a browser: each `*.test.js` beside this file is one test here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = Path("leadcrm/web/studio/files")
MAX_FIRST_BYTES = 120_000
"""Of all that is loaded before the first rows, unpacked."""
PARTS = (FILES, HERE.relative_to(ROOT))


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules and their tests, under a package.json: without one, Node 18 takes no .js file for a module."""
    copy = tmp_path_factory.mktemp("modules")
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(HERE / "package.json", copy)
    return copy / PARTS[1]


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.js")))
def test_the_tests_of_a_module_pass(modules: Path, name: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here: apt-get install nodejs")
    done = subprocess.run([node, name], cwd=modules, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_page_asks_at_once_for_every_module_but_those_that_come_with_what_is_opened() -> None:
    files = ROOT / FILES
    page = (files / "index.html").read_text(encoding="utf-8")
    asked = re.findall(r'<link rel="modulepreload" href="studio/(\w+\.js)">', page)
    asked += re.findall(r'<script type="module" src="studio/(\w+\.js)">', page)
    needed = {"app.js"}
    later: set[str] = set()
    for modules, pattern in ((needed, r'from "\./(\w+\.js)"'), (later, r'(?:from |import\()"\./(\w+\.js)"')):
        found = needed | later
        while found:
            texts = [(files / name).read_text(encoding="utf-8") for name in found]
            found = {name for text in texts for name in re.findall(pattern, text)} - needed - later
            modules.update(found)
    assert sorted(asked) == sorted(needed)
    assert needed | later == {path.name for path in files.glob("*.js")}
    styles = re.findall(r'<link rel="stylesheet" href="studio/([\w.]+)">', page)
    first = [files / name for name in ("index.html", "icon.svg", "search.svg", *styles, *needed)]
    assert sum(path.stat().st_size for path in first) < MAX_FIRST_BYTES
