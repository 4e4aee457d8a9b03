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


def test_the_page_asks_at_once_for_every_module_but_those_of_views_that_are_loaded_when_they_are_opened() -> None:
    files = ROOT / FILES
    page = (files / "index.html").read_text(encoding="utf-8")
    asked = re.findall(r'<link rel="modulepreload" href="studio/(\w+\.js)">', page)
    asked += re.findall(r'<script type="module" src="studio/(\w+\.js)">', page)
    later = re.findall(r'import\("\./(\w+\.js)"\)', (files / "app.js").read_text(encoding="utf-8"))
    for name in later:
        imported = re.findall(r'from "\./(\w+\.js)"', (files / name).read_text(encoding="utf-8"))
        later += [module for module in imported if module not in (*asked, *later)]
    assert later
    assert sorted([*asked, *later]) == sorted(path.name for path in files.glob("*.js"))
