"""Imports go one way, and the heavy libraries stay in their rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "config": set(),
    "profiles": {"config"},
    "silent_points": set(),
    "data": {"config"},
    "models": {"config", "data"},
    "probes": {"config", "data", "models"},
    "runs": {"config", "profiles", "data", "models", "probes"},
    "claims": {"config"},
    "report": {"config", "claims", "silent_points"},
    "language": {"config", "data", "models", "probes", "runs", "report"},
}
HOMES = {"torch": {"models", "probes", "runs"}, "sklearn": {"probes"}, "matplotlib": {"report"}}


def imports(path):
    """Every module that the file names in an import, wherever it stands, e.g. "taskclust.data"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "taskclust")


def files(layer):
    """The layer's source files."""
    alone = ROOT / "taskclust" / f"{layer}.py"
    return [alone] if alone.exists() else sorted((ROOT / "taskclust" / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_layer_imports_only_layers_below_it(layer):
    found = {m.split(".")[1] for f in files(layer) for m in imports(f) if m.startswith("taskclust.")}

    assert found - {layer} <= MAY_IMPORT[layer]


@pytest.mark.parametrize("library", HOMES)
def test_library_stays_at_home(library):
    found = {layer for layer in MAY_IMPORT for f in files(layer) if library in {m.split(".")[0] for m in imports(f)}}

    assert found
    assert found <= HOMES[library]


def test_every_source_file_belongs_to_a_layer():
    every = {p for p in (ROOT / "taskclust").rglob("*.py") if p != ROOT / "taskclust" / "__init__.py"}

    assert every == {f for layer in MAY_IMPORT for f in files(layer)}


@pytest.mark.parametrize("folder", ["taskclust", "benchmarks"])
def test_the_package_and_its_claims_import_no_study(folder):
    found = {f for f in (ROOT / folder).rglob("*.py") if any(m.split(".")[0] == "studies" for m in imports(f))}

    assert found == set()


@pytest.mark.parametrize("folder", ["taskclust", "benchmarks", "studies", "tests"])
def test_nothing_imports_conftest(folder):
    found = {f for f in (ROOT / folder).rglob("*.py") if "conftest" in ".".join(imports(f)).split(".")}

    assert found == set()
