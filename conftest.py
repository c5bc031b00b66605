"""Options, fixtures and the closing report of the claims; see ``pytest benchmarks --help``, group "taskclust"."""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.mark.expression import Expression  # what -m means is pytest's to say

from taskclust import profiles
from taskclust.claims import LANGUAGE_CELLS, QUARANTINE, CellResult, Claim, Finding, judge, judge_model
from taskclust.config import ConfigError, LanguageConfig, require
from taskclust.data.natural import natural_tasks
from taskclust.profiles import Profile
from taskclust.report import check_folder, language_rows, plain, verdict_rows, write_report
from taskclust.runs import Runner, Store, StoreError, obtain_all
from taskclust.runs.estimate import Estimate, estimate
from taskclust.runs.language import short_name

ROOT = Path(__file__).parent
SESSION = pytest.StashKey["ClaimSession"]()
#: Kinds of record that training makes.
TRAINED = ("scores", "pretraining", "alignment")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the claims."""
    group = parser.getgroup("taskclust", "claims of the paper")
    group.addoption(
        "--profile", choices=("smoke", "paper", "llm"), help="smoke unless -m gpu or -m llm asks for another"
    )
    group.addoption("--seeds", help="how many (5) or which (0,3,7); default: the profile's")
    group.addoption("--width", type=int, help="width of the paper profile: 32, 256, 768 (default) or 2048")
    group.addoption(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a silent point of the main experiment (§3): model.norm=before, training.learning_rate=3e-4, "
        "model=gpt2 or model=tutorial; repeatable",
    )
    group.addoption("--epochs", type=int, help="stop training after so many epochs of the schedule")
    group.addoption(
        "--llm", action="append", default=[], help="a causal language model for -m llm: hub id, folder or GGUF file"
    )
    group.addoption("--expressions", type=int, help="expressions of each natural-language task, 2 to 50 (50)")
    group.addoption("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    group.addoption(
        "--threads",
        type=int,
        default=1,
        help="threads of one run on a CPU (1); another number rounds otherwise, but a stored record is served whatever "
        "made it, and the closing lines say so",
    )
    group.addoption(
        "--workers", type=int, help="runs at once (one a core on a CPU; 1 on a GPU, where small models gain)"
    )
    group.addoption(
        "--replay",
        action="store_true",
        help="on a GPU: record a training step once and replay it, all seeds together (not in the applications)",
    )
    group.addoption("--store", type=Path, default=Path(".taskclust"), help="where records are kept (.taskclust)")
    group.addoption("--report", type=Path, help="where it is written (reports/<profile>; of a part: <store>/report)")
    group.addoption("--recompute", action="store_true", help="compute even what is stored")
    group.addoption("--dry-run", action="store_true", help="list runs with estimated minutes and disk, run nothing")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "5" as five seeds, 0 to 4, and "0,3,7" (or "3,") as those."""
    try:
        seeds = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        seeds = ()
    if "," not in text and seeds:
        seeds = tuple(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise pytest.UsageError(f"--seeds={text!r}: give a count, e.g. 5 or 1, or distinct seeds, e.g. 0,3,7 or 3,")
    return seeds


def asked_for(markexpr: str) -> str:
    """The profile that ``-m`` asks for: smoke, unless it would run claims of another and none of smoke's."""
    if not markexpr:
        return "smoke"
    chooses = Expression.compile(markexpr).evaluate
    for name, marks in (("smoke", {"smoke"}), ("paper", {"gpu", "slow"}), ("llm", {"llm"})):
        if chooses(lambda mark, marks=marks, **_: mark in marks):
            return name
    return "smoke"


def chosen_profile(config: pytest.Config) -> Profile:
    """The profile with the options applied."""
    name = config.getoption("--profile") or asked_for(config.getoption("markexpr"))
    width = config.getoption("--width")
    if name == "llm":
        return chosen_languages(config)
    for option in ("--llm", "--expressions"):
        if config.getoption(option):
            raise pytest.UsageError(f"{option}: only language models are probed so; add -m llm")
    if name == "smoke" and width is not None:
        raise pytest.UsageError(f"--width={width}: only the paper profile has widths; add --profile paper")
    try:
        profile = profiles.smoke() if name == "smoke" else profiles.paper(768 if width is None else width)
        changes = tuple(config.getoption("--set"))
        experiment = profiles.changed(profile.experiment, changes)
        if config.getoption("--epochs") is not None:
            epochs = config.getoption("--epochs")
            experiment = replace(experiment, training=experiment.training.until(epochs))
            profile = replace(
                profile,
                pretraining=shortened(profile.pretraining, epochs, ("pretraining", "training")),
                alignment=shortened(profile.alignment, epochs, ("training",)),
            )
        seeds = profile.seeds if config.getoption("--seeds") is None else parse_seeds(config.getoption("--seeds"))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    return replace(profile, experiment=experiment, seeds=seeds, changes=changes)


def chosen_languages(config: pytest.Config) -> Profile:
    """The natural-language setting on the models asked for."""
    for option in ("--width", "--epochs", "--seeds", "--set"):
        if config.getoption(option) not in (None, []):
            raise pytest.UsageError(f"{option}: language models are not trained here; leave it out")
    expressions = config.getoption("--expressions")
    changes = {} if expressions is None else {"n_expressions": expressions}
    try:
        profile = profiles.llm(*config.getoption("--llm"), **changes)
        names = [short_name(language.source) for language in profile.languages]
        require(len(set(names)) == len(names), "llm", names, "give each model once, under names that differ")
        most = min(len(task.expressions) for task in natural_tasks())
        require((expressions or 1) <= most, "expressions", expressions, f"there are {most} of each task")
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    return profile


def shortened(application: Any, epochs: int, stages: tuple[str, ...]) -> Any:
    """An application's configuration with no stage longer than ``epochs``."""
    lasting = {name: getattr(application, name) for name in stages}
    cut = {name: stage.until(min(epochs, stage.schedule_epochs)) for name, stage in lasting.items()}
    return replace(application, **cut)


def overrides(config: pytest.Config) -> str:
    """The options given that change what is measured."""
    names = ("--width", "--epochs", "--seeds", "--expressions")
    given = [f"{n}={config.getoption(n)}" for n in names if config.getoption(n) is not None]
    return ", ".join([*given, *(f"--set {change}" for change in config.getoption("--set"))])


@dataclass
class ClaimSession:
    """What one run of pytest collects: the profile, the records it obtained and the verdicts."""

    profile: Profile
    runner: Runner
    command: str
    overrides: str
    workers: int | None = None
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    results: list[CellResult] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)  # of the records that the chosen claims need

    def estimates(self) -> list[Estimate]:
        """What the runs of the chosen claims would cost."""
        kinds = [kind for kind in TRAINED if kind in self.kinds]
        return [e for kind in kinds for e in estimate(self.runner, self.profile.configs(kind), kind)]

    def obtain(self, needs: str) -> list[dict[str, Any]]:
        """The records a claim needs, one a seed, computed on first use; what failed once is not tried again."""
        if needs in self.failures:
            pytest.fail(self.failures[needs], pytrace=False)
        try:
            return self._obtain(needs)
        except (ConfigError, StoreError) as error:
            self.failures[needs] = str(error)
            pytest.fail(str(error), pytrace=False)
        except Exception as error:
            self.failures[needs] = f"{needs}: {type(error).__name__}: {error}"
            raise

    def obtain_language(self, config: LanguageConfig) -> dict[str, Any]:
        """The record of one language model; what failed once is not tried again."""
        found = self.records.setdefault("language", [])
        record = next((r for r in found if r["config"]["source"] == config.source), None)
        if config.source in self.failures:
            pytest.fail(self.failures[config.source], pytrace=False)
        try:
            if record is None:
                record = self.runner.language(config)
                found.append(record)
        except (ConfigError, StoreError, torch.OutOfMemoryError) as error:
            self.failures[config.source] = str(error)
            pytest.fail(str(error), pytrace=False)
        except Exception as error:
            self.failures[config.source] = f"{config.source}: {type(error).__name__}: {error}"
            raise
        return record

    def _obtain(self, needs: str) -> list[dict[str, Any]]:
        if needs not in self.records:
            # Tables 3, 4 and 8 speak of the paper's data and models at any scale
            paper = profiles.changed(profiles.paper().experiment, self.profile.changes)
            if needs in TRAINED:
                self.records[needs] = obtain_all(self.runner, self.profile.configs(needs), self.workers, kind=needs)
            elif needs == "dataset":
                self.records[needs] = [self.runner.dataset(paper.data, seed) for seed in self.profile.seeds]
            else:
                self.records[needs] = [self.runner.parameters(paper.data, paper.model)] * len(self.profile.seeds)
        return self.records[needs]


def pytest_configure(config: pytest.Config) -> None:
    """Settle profile, device and store before anything is collected, so that a wrong option ends at once."""
    if config.getoption("help", default=False):
        return
    if config.getoption("numprocesses", default=None) and any("benchmarks" in argument for argument in config.args):
        raise pytest.UsageError("--numprocesses: claims are judged together, in one process; use --workers")
    profile = chosen_profile(config)
    device = config.getoption("--device") or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device=cuda: no CUDA device is visible; use --device cpu")
    if device == "cpu" and config.getoption("--replay"):
        raise pytest.UsageError("--replay: a CPU has no launches to save; leave it out, or run on a GPU")
    try:
        check_folder(report_folder(config, profile))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    command = shlex.join(["pytest", *config.invocation_params.args])
    if not any("perf" in argument for argument in config.args):
        config.option.benchmark_quiet = True  # the verdicts are the result; times go to --benchmark-json
    workers = config.getoption("--workers")
    if workers is not None and workers < 1:
        raise pytest.UsageError(f"--workers={workers}: use 1 or more")
    config.stash[SESSION] = ClaimSession(profile, _runner(config, device), command, overrides(config), workers)


def report_folder(config: pytest.Config, profile: Profile) -> Path:
    """Where the report goes: one of some claims, or of other settings, does not replace the profile's."""
    whole = Path("reports") / profile.name
    is_part = config.getoption("keyword") or any(".py" in argument for argument in config.args)
    is_other = overrides(config) or config.getoption("--llm")
    default = config.getoption("--store") / "report" if is_part or is_other else whole
    return (config.getoption("--report") or default).resolve()


def _runner(config: pytest.Config, device: str) -> Runner:
    try:
        store = Store(config.getoption("--store"))
    except StoreError as error:
        raise pytest.UsageError(str(error)) from error
    return Runner(
        store,
        device=device,
        threads=config.getoption("--threads"),
        recompute=config.getoption("--recompute"),
        replay=config.getoption("--replay"),
        show_progress=sys.stderr.isatty() and "CI" not in os.environ,
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is about to be judged, on what."""
    session = config.stash[SESSION]
    return (
        f"taskclust: profile {session.profile.name}, seeds {','.join(map(str, session.profile.seeds))}, "
        f"device {session.runner.device}, torch {torch.__version__}, store {session.runner.store.root}"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each claim's test its cells; the profile and the seeds stand in the test's name."""
    claim: Claim | None = getattr(metafunc.module, "CLAIM", None)
    if claim is None:
        return
    if claim.needs == "language":
        of_each_model(metafunc, claim)
    if "cell" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[SESSION]
    name, width, n = session.profile.name, session.profile.width, len(session.profile.seeds)
    whole = profiles.smoke() if width is None else profiles.paper(width)  # a finding is about all of it
    whole = replace(whole, experiment=profiles.changed(whole.experiment, session.profile.changes))
    kind = claim.needs if claim.needs in TRAINED else "scores"
    is_whole = set(session.profile.configs(kind)) == set(whole.configs(kind))
    parameters = []
    for cell in claim.cells:
        if name == "smoke" and cell in claim.paper_only:
            continue
        marks = [pytest.mark.smoke] if name == "smoke" else [pytest.mark.gpu, pytest.mark.slow]
        # what is dealt with: a training that diverged, whose record counts, and a record that is made again
        dealt = (r"seed \d+:RuntimeWarning", ":taskclust.runs.CorruptRecordWarning")
        marks += [pytest.mark.filterwarnings(f"default:{warning}") for warning in dealt]
        finding = QUARANTINE.get((session.profile.scale(claim.needs), claim.id, cell))
        if finding:
            marks.append(known(finding, is_whole))
        parameters.append(pytest.param(cell, marks=marks, id=f"{name}-{n}seeds-{cell}"))
    if not parameters:
        skip = pytest.mark.skip(reason=f"at smoke scale this claim asserts {claim.smoke_asserts}")
        parameters.append(pytest.param("none", marks=[pytest.mark.smoke, skip]))
    metafunc.parametrize("cell", parameters)


def known(finding: Finding, is_whole: bool) -> pytest.MarkDecorator:
    """What a quarantined cell's test expects: that its verdict is not asserted; anything else that fails is a fault."""
    return pytest.mark.xfail(raises=AssertionError, strict=is_whole, reason=f"{finding.reason} ({finding.evidence})")


def of_each_model(metafunc: pytest.Metafunc, claim: Claim) -> None:
    """Give the test of the claim about language models each model and each identity."""
    parameters = []
    for config in metafunc.config.stash[SESSION].profile.languages:
        name = short_name(config.source)
        for label in LANGUAGE_CELLS:
            marks = [pytest.mark.llm, pytest.mark.filterwarnings("default")]  # a stranger's model may warn
            finding = QUARANTINE.get(("llm", claim.id, f"{name}: {label}"))
            if finding:  # it is about all the prompts: fewer may do better
                is_whole = config == LanguageConfig(source=config.source)
                marks.append(known(finding, is_whole))
            parameters.append(pytest.param(config.source, label, marks=marks, id=f"{name}-{label}"))
    metafunc.parametrize(("model", "label"), parameters)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a green run that validated nothing: paper scale without CUDA must be asked for by name."""
    session = config.stash[SESSION]
    session.kinds = {item.module.CLAIM.needs for item in items if hasattr(getattr(item, "module", None), "CLAIM")}
    for item in items:
        claim = getattr(getattr(item, "module", None), "CLAIM", None)
        if claim and (claim.needs == "language") != (session.profile.name == "llm"):
            mend = "add -m llm" if claim.needs == "language" else "leave out -m llm"
            raise pytest.UsageError(f"{item.path.name}: not a claim of the profile {session.profile.name}; {mend}")
    paper_items = [item for item in items if item.get_closest_marker("gpu")]
    if config.getoption("--dry-run"):
        items[:] = []
    elif paper_items and session.runner.device == "cpu" and config.getoption("--device") is None:
        hours = sum(e.hours for e in session.estimates())
        raise pytest.UsageError(
            "the paper's scale (-m gpu, --profile paper): no CUDA device is visible; add --device cpu to run it on "
            f"this CPU (about {hours:.0f} hours of one core, shared by those at hand), or take the smoke scale"
        )


@pytest.fixture
def decide(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Claim, str], CellResult]:
    """Judge one cell of a claim: obtain its records (timed once), collect the verdict for the report."""
    session = request.config.stash[SESSION]
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def _decide(claim: Claim, cell: str) -> CellResult:
        with capture.global_and_fixture_disabled() if session.runner.show_progress else nullcontext():
            records = benchmark.pedantic(session.obtain, args=(claim.needs,), rounds=1, iterations=1, warmup_rounds=0)
        profile = session.profile
        result = judge(claim, cell, records, profile.name, profile.seeds, profile.scale(claim.needs))
        session.results.append(result)
        benchmark.extra_info.update(
            claim=claim.id,
            cell=cell,
            verdict=result.verdict,
            seeds=result.seeds,
            values={check.name: check.values for check in result.checks},
            seconds=[record.get("seconds") for record in records],
        )
        return result

    return _decide


@pytest.fixture
def decide_model(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[str, str], CellResult]:
    """Judge one language model by one identity; a model that cannot be probed leaves the others alone."""
    session = request.config.stash[SESSION]
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def _decide(source: str, label: str) -> CellResult:
        config = next(config for config in session.profile.languages if config.source == source)
        with capture.global_and_fixture_disabled() if session.runner.show_progress else nullcontext():
            record = benchmark.pedantic(
                session.obtain_language, args=(config,), rounds=1, iterations=1, warmup_rounds=0
            )
        result = judge_model(record, label, record["name"])
        session.results.append(result)
        if all(check.verdict is None for check in result.checks):
            pytest.skip(f"{result.cell}: of a model of type {record['architecture']['model_type']} nothing is asserted")
        benchmark.extra_info.update(
            model=record["name"], label=label, verdict=result.verdict, seconds=record["seconds"]
        )
        return result

    return _decide


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report once, of whatever was decided."""
    state = session.config.stash.get(SESSION, None)
    if session.config.getoption("--dry-run") and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
    if state is None or not state.results:
        return
    folder = report_folder(session.config, state.profile)
    parameters = state.records.get("parameters")
    write_report(
        folder,
        state.profile.name,
        state.results,
        scores=state.records.get("scores", []),
        datasets=state.records.get("dataset", []),
        parameters=parameters[0] if parameters else None,
        pretraining=state.records.get("pretraining", []),
        alignment=state.records.get("alignment", []),
        language=state.records.get("language", []),
        command=state.command,
        overrides=state.overrides,
    )


def of_other_threads(session: ClaimSession) -> str:
    """A line about records that another number of threads made than was asked for; empty where there are none.

    Threads are no part of a record's key, for rounding is no part of a claim: what is stored is served.
    """
    made = [
        record["provenance"]["threads"]
        for kind in TRAINED
        for record in session.records.get(kind, [])
        if session.runner.device == "cpu"
    ]
    others = [threads for threads in made if threads != session.runner.threads]
    if not others:
        return ""
    numbers = ", ".join(map(str, sorted(set(others))))
    return (
        f"threads: {len(others)} of {len(made)} records were made with {numbers} and are served as they are; "
        f"--recompute makes them with {session.runner.threads}"
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Close with the verdicts, or with what would be run."""
    state = config.stash[SESSION]
    if config.getoption("--dry-run"):
        rows = [e.row() for e in state.estimates()] or [
            {"run": f"language {short_name(config.source)}", "prompts": 16 * config.n_expressions * config.n_pairs}
            for config in state.profile.languages
        ]
        terminalreporter.section("dry run: nothing was run")
        terminalreporter.write_line(plain(rows))
    if state.results:
        scales = {"smoke": "at SMOKE scale, no reproduction", "paper": "at paper scale", "llm": "on language models"}
        scale = scales[state.profile.name]
        terminalreporter.section(f"claims {scale}{' with ' + state.overrides if state.overrides else ''}")
        terminalreporter.write_line(plain(verdict_rows(state.results)))
        if state.profile.name == "llm":
            terminalreporter.section("Table 1")
            terminalreporter.write_line(plain(language_rows(state.records["language"])))
        page = report_folder(config, state.profile) / "index.html"
        terminalreporter.write_line(f"report: {os.path.relpath(page)}")
        if line := of_other_threads(state):
            terminalreporter.write_line(line)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``pytest benchmarks`` judges claims; speed is measured when asked for by name, language models by ``-m llm``."""
    is_perf = collection_path.name == "perf" and not any("perf" in argument for argument in config.args)
    is_claim = collection_path.parent == ROOT / "benchmarks" and collection_path.name.startswith("test_")
    is_llm = config.stash[SESSION].profile.name == "llm"
    return True if is_perf or (is_claim and is_llm != ("open_llm" in collection_path.name)) else None
