"""All names that README and the guides use are imported from ``taskclust`` itself and are documented."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import taskclust

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "own_claim" / "README.md"]


def python_blocks(text):
    """The sources in a page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def names_elsewhere(source):
    """Imports from this package that are not public names of its top level."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("taskclust.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "taskclust":
            public = taskclust.__all__ if node.module == "taskclust" else ()
            found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public}
    return found


def typed_imports():
    """The modules of names imported on first use, as given to type checkers."""
    tree = ast.parse((ROOT / "taskclust" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_pages_import_public_names_of_the_top_level_only():
    blocks = [block for page in PAGES for block in python_blocks(page.read_text("utf-8"))]

    assert len(blocks) >= 6
    assert {name for block in blocks for name in names_elsewhere(block)} == set()


def test_the_example_imports_public_names_of_the_top_level_only():
    files = sorted((ROOT / "examples").rglob("*.py"))

    assert files
    assert {name for path in files for name in names_elsewhere(path.read_text())} == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from taskclust import Claim, probe", set()),
        ("from taskclust import unknown", {"taskclust.unknown"}),
        ("from taskclust.claims import Claim", {"taskclust.claims.Claim"}),
        ("import taskclust.models", {"taskclust.models"}),
        ("import torch\nfrom pathlib import Path", set()),
    ],
)
def test_a_planted_import_of_another_name_is_caught(source, found):
    assert names_elsewhere(source) == found


@pytest.mark.parametrize("name", taskclust.__all__)
def test_a_public_name_is_there_and_is_documented(name):
    assert getattr(taskclust, name).__doc__


def test_type_checkers_are_told_what_is_imported_on_first_use():
    assert typed_imports() == taskclust._LATER
    assert set(taskclust._LATER) <= set(taskclust.__all__)


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="module 'taskclust' has no attribute 'unknown'"):
        _ = taskclust.unknown


def test_importing_the_package_loads_no_torch():
    code = "import taskclust, sys; assert 'torch' not in sys.modules; taskclust.Runner; assert 'torch' in sys.modules"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
