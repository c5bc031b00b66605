"""Imports go in one direction, heavy libraries are imported only where allowed, and shared code names no experiment."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from taskclust import experiments

ROOT = Path(__file__).parents[1]
#: The layers that each layer may import; ``experiments`` is that package's root, the slices are its folders.
MAY_IMPORT = {
    "fields": set(),
    "config": {"fields"},
    "silent_points": {"config"},
    "data": {"config"},
    "models": {"config", "data"},
    "probes": {"config", "data", "models"},
    "store": {"config", "models"},
    "claims": set(),
    "formats": {"claims"},
    "drawing": {"probes"},
    "experiments": set(),
    "profiles": {"config", "experiments"},
    "progress": {"models", "store"},
    "runner": {"config", "data", "models", "store", "progress", "experiments"},
    "slices": {"config", "data", "models", "probes", "store", "formats", "drawing", "runner"},
    "engines": {"config", "models", "store", "runner", "experiments"},
    "estimate": {"config", "data", "models", "runner", "experiments"},
    "exchange": {"config", "store", "runner", "experiments"},
    "report": {"config", "claims", "store", "formats", "drawing", "experiments"},
    "compare": {"formats", "report"},
    "sweep": {"config", "formats", "report"},
    "session": {
        "config", "claims", "store", "experiments", "profiles", "runner", "engines", "estimate", "report",
    },
    "plugin": {
        "config", "claims", "models", "store", "experiments", "engines", "estimate", "formats", "profiles", "runner",
        "report", "session",
    },
    "language": {"config", "data", "models", "probes", "store", "formats", "drawing", "slices", "report"},
    "cli": {
        "config", "data", "models", "store", "formats", "slices", "profiles", "exchange", "report", "compare",
        "silent_points", "sweep", "language",
    },
}  # fmt: skip
#: Where each heavy library may be imported, by layer or by file of a slice.
HOMES = {
    "torch": {
        "models", "probes", "store", "runner", "engines", "estimate", "session", "plugin", "slices/run",
        "slices/probing", "slices/arms", "language",
    },
    "transformers": {"models", "runner", "language", "slices/run"},
    "sklearn": {"probes"},
    "matplotlib": {"drawing", "report", "slices/figures"},
    "msgspec": {"report", "store"},
    "pandas": {"report", "cli"},
    "typer": {"cli"},
    "jinja2": {"report"},
    "plotly": {"report", "slices/scenes"},
    "pytest": {"plugin"},
    "ray": {"engines"},
    "submitit": {"engines"},
}  # fmt: skip
#: Code that works for every present and future experiment.
GENERAL = (
    "claims", "store", "formats", "drawing", "profiles", "progress", "runner", "engines", "estimate", "report",
    "compare", "sweep", "session", "plugin",
)  # fmt: skip
SOURCES = {str(p.relative_to(ROOT)): p.read_text() for p in sorted((ROOT / "taskclust").rglob("*.py"))}
CLAIMS = {str(p.relative_to(ROOT)): p.read_text() for p in sorted((ROOT / "benchmarks").glob("test_*.py"))}


def imports(source):
    """Every module that a source imports, anywhere in it, and the imported names as module.name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def layer_of(path):
    """The layer of a file or an imported module; None for the package itself and for other packages."""
    parts = path.removesuffix(".py").replace("/", ".").split(".")
    if parts[0] != "taskclust" or parts[1:] in ([], ["__init__"]):
        return None
    if parts[1] == "experiments" and len(parts) > 2 and parts[2] in experiments.names():
        return "slices"
    return parts[1]


def slice_of(path):
    """The experiment whose folder the module is in."""
    return path.removesuffix(".py").replace("/", ".").split(".")[2] if layer_of(path) == "slices" else None


def room_of(path):
    """A module's layer, with the file's name in a slice, whose files may load different libraries."""
    layer = layer_of(path)
    return f"{layer}/{Path(path).stem}" if layer == "slices" else layer


def imported(source):
    """Our modules that a source imports; names imported from ``taskclust`` itself are looked up."""
    modules = {name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for name in SOURCES}
    return {module for module in imports(source) if module in modules}


def not_below(sources):
    """Imports from layers that are not below: (file, module)."""
    return {
        (path, module)
        for path, source in sources.items()
        for module in imported(source)
        if (other := layer_of(module)) and other != layer_of(path) and other not in MAY_IMPORT[layer_of(path)]
    }


def of_other_slices(sources):
    """Imports of one slice by another: (file, module)."""
    return {
        (path, module)
        for path, source in sources.items()
        for module in imported(source)
        if slice_of(path) and slice_of(module) not in (None, slice_of(path))
    }


def not_at_home(sources, library):
    """Files that import a library where it is not allowed."""
    return {
        path
        for path, source in sources.items()
        if library in {module.split(".")[0] for module in imports(source)} and room_of(path) not in HOMES[library]
    }


def named(source):
    """Experiments that a source names: in an import, or as a whole string that is not a docstring."""
    tree = ast.parse(source)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    parts = {part for module in imports(source) for part in module.split(".")}
    words = texts | {text.rpartition(".")[2] for text in texts if text.startswith("taskclust.")} | parts
    return words & set(experiments.names())


def general(sources):
    """The files of code that works for every experiment."""
    return {path: source for path, source in sources.items() if layer_of(path) in GENERAL}


def test_every_source_file_belongs_to_a_layer():
    layers = {path: layer_of(path) for path in SOURCES if path != "taskclust/__init__.py"}

    assert set(layers.values()) == set(MAY_IMPORT)
    assert {name for name in map(slice_of, layers) if name} == set(experiments.names())


def test_a_layer_imports_only_layers_below_it():
    assert not_below({path: source for path, source in SOURCES.items() if layer_of(path)}) == set()


def test_every_layer_allowed_is_one_that_is_used():
    used = {layer: set() for layer in MAY_IMPORT}
    for path, source in SOURCES.items():
        if layer_of(path):
            used[layer_of(path)] |= {layer_of(module) for module in imported(source)} - {None, layer_of(path)}

    assert used == MAY_IMPORT


def test_layers_have_no_cycle():
    left = {layer: set(below) for layer, below in MAY_IMPORT.items()}
    while lowest := {layer for layer, below in left.items() if not below & left.keys()}:
        left = {layer: below for layer, below in left.items() if layer not in lowest}

    assert left == {}


def test_slices_never_import_each_other():
    assert of_other_slices(SOURCES) == set()


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_allowed(library):
    homes = {room_of(p) for p, source in SOURCES.items() if library in {m.split(".")[0] for m in imports(source)}}

    assert not_at_home(SOURCES, library) == set()
    assert homes == HOMES[library]


def test_shared_code_names_no_experiment():
    assert {path: found for path, source in general(SOURCES).items() if (found := named(source))} == {}


def test_the_exchange_names_experiments_only_for_old_files():
    tree = ast.parse(SOURCES["taskclust/exchange.py"])
    (former,) = [
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_FORMER"
    ]
    tree.body.remove(former)

    assert named(ast.unparse(tree)) == set()


def test_claims_import_only_claims_numbers_of_the_paper_and_their_slices_statistics():
    found = {module for source in CLAIMS.values() for module in imported(source)}

    assert CLAIMS
    assert {module for module in found if layer_of(module) not in (None, "claims", "config", "experiments")} == {
        module for module in found if slice_of(module) in module.split(".") and slice_of(module)
    }
    assert {module.split(".")[3] for module in found if module.count(".") > 2} == {"statistics"}


LIGHT_MODULES = sorted(
    path.removesuffix(".py").replace("/", ".")
    for path in SOURCES
    if layer_of(path) == "slices" and Path(path).stem in ("record", "statistics")
)


def loads(code, libraries):
    """The libraries that a new process has loaded after ``code``, in printed order."""
    lines = [code, "import sys", f"print(*(name for name in {libraries!r} if name in sys.modules))"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_reading_records_and_loading_claims_needs_no_torch():
    imported_all = [f"import {module}" for module in LIGHT_MODULES]
    claims = ["from pathlib import Path", "from taskclust.claims import load_claims"]
    code = "\n".join([*imported_all, *claims, f"assert len(load_claims(Path('benchmarks'))) == {len(CLAIMS)}"])

    assert len(LIGHT_MODULES) == 2 * len(experiments.names())
    assert loads(code, ("torch", "transformers", "sklearn", "matplotlib")) == []


def test_a_library_that_is_loaded_is_seen():
    assert loads("import jinja2, msgspec", ("torch", "msgspec", "jinja2")) == ["msgspec", "jinja2"]


PLANTED = [
    ("taskclust/data/planted.py", "from taskclust.models import Trainer", "taskclust.models"),
    ("taskclust/models/planted.py", "def later():\n    from taskclust import runner", "taskclust.runner"),
    ("taskclust/runner.py", "import taskclust.experiments.synthetic.run", "taskclust.experiments.synthetic.run"),
    ("taskclust/claims/planted.py", "from taskclust.experiments import synthetic", "taskclust.experiments.synthetic"),
    ("taskclust/report/planted.py", "from taskclust.plugin import SESSION", "taskclust.plugin"),
]


@pytest.mark.parametrize(("path", "source", "module"), PLANTED, ids=[path for path, *_ in PLANTED])
def test_a_planted_import_of_a_layer_above_is_caught(path, source, module):
    assert (path, module) in not_below({path: source})


@pytest.mark.parametrize(
    "source",
    [
        "from taskclust.experiments.alignment import record",
        "from taskclust.experiments import alignment",
        "import taskclust.experiments.alignment.run as other",
    ],
)
def test_a_planted_import_of_another_slice_is_caught(source):
    path = "taskclust/experiments/synthetic/planted.py"

    assert {module.split(".")[2] for _, module in of_other_slices({path: source})} == {"alignment"}
    assert of_other_slices({"taskclust/experiments/alignment/planted.py": source}) == set()


@pytest.mark.parametrize(
    ("path", "source", "library"),
    [
        ("taskclust/claims/planted.py", "import torch.nn", "torch"),
        ("taskclust/experiments/synthetic/record.py", "from torch import Tensor", "torch"),
        ("taskclust/experiments/synthetic/tables.py", "def draw():\n    import matplotlib.pyplot", "matplotlib"),
        ("taskclust/runner.py", "from sklearn.cluster import KMeans", "sklearn"),
        ("taskclust/session.py", "import pytest", "pytest"),
    ],
)
def test_a_planted_library_is_caught(path, source, library):
    assert not_at_home({path: source}, library) == {path}


@pytest.mark.parametrize(
    "source",
    [
        "if name == 'synthetic': pass",
        "from taskclust.experiments.synthetic import run",
        "from taskclust.experiments import synthetic",
        "kind = {'synthetic': 1}",
        "import_module('taskclust.experiments.synthetic')",
    ],
)
def test_a_planted_name_of_an_experiment_is_caught(source):
    assert named(source) == {"synthetic"}


def test_an_experiments_name_within_a_sentence_is_allowed():
    assert named('"""Of synthetic data."""\nhelp = "the paper\'s alignment"') == set()


def test_a_planted_relative_import_is_caught():
    with pytest.raises(AssertionError, match="line 1: relative import"):
        imports("from . import run")


@pytest.mark.parametrize("folder", ["taskclust", "benchmarks"])
def test_the_package_and_its_claims_import_no_study(folder):
    sources = [path.read_text() for path in (ROOT / folder).rglob("*.py")]

    assert [s for s in sources if any(module.split(".")[0] == "studies" for module in imports(s))] == []


@pytest.mark.parametrize("folder", ["taskclust", "benchmarks", "studies", "tests"])
def test_nothing_imports_conftest(folder):
    found = {f for f in (ROOT / folder).rglob("*.py") if "conftest" in ".".join(imports(f.read_text())).split(".")}

    assert found == set()
