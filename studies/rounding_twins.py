"""How often would the smoke claims fail on a stranger's machine, although nothing is wrong?

Processors round differently, and training and t-SNE are chaotic, so the same seed gives a different run on another
processor. A *twin* is such a run, made here by changing every initial weight by about one part in a million, or by
making the libraries use an older processor's instructions. ``python -m studies.rounding_twins run`` trains and probes
the whole smoke profile once per twin; ``python -m studies.rounding_twins table`` estimates from their values, for each
check, how far the criterion is and how often it would fail.

A change of the code that draws other numbers is more than rounding: it is as good as other seeds. ``python -m
studies.rounding_twins seeds`` runs the profile with :data:`OTHER_SEEDS` and says how often six of them would be red.

Shapes: T twins, S seeds.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate

from taskclust import profiles
from taskclust.claims import AtLeast, AtMost, Check, Exceeds, load_claims
from taskclust.models import Model
from taskclust.models.registry import ARCHITECTURES
from taskclust.runner import Runner
from taskclust.store import Store

#: Variables that make torch, oneDNN and MKL compute as on other processors; the last changes the number of threads.
#: AVX-512 with and without bfloat16 are equal to the bit, as are AVX2 in only torch and in all three: one machine each.
MACHINES: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NUMBA_CPU_NAME": "haswell",
    },
    "sse": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "NUMBA_CPU_NAME": "generic",
    },
    "two threads": {"OMP_NUM_THREADS": "2"},
}
#: Relative size of the changes: about ten times the spacing of float32 numbers.
MOVE = 1e-6
#: Below this, twins are equal up to the rounding of the sum over seeds.
NO_ERROR = 1e-12
KINDS = ("synthetic", "pretraining", "alignment")
CLAIMS = Path(__file__).parents[1] / "benchmarks"
FOLDER = Path(".taskclust/twins")
VALUES = Path("reports/twins/values.jsonl")
#: Draws of the whole command, each with a newly drawn twin for every seed.
DRAWS = 5_000

#: Seeds that the profile does not use.
OTHER_SEEDS = tuple(range(6, 36))
SEEDS = Path("reports/twins/seeds.jsonl")

Row = dict[str, Any]


class Asked(NamedTuple):
    """A check that the smoke profile asserts."""

    claim: str
    cell: str
    kind: str
    check: Check

    @property
    def name(self) -> str:
        """The check's name in rows."""
        return f"{self.claim}[{self.cell}] {self.check.name}"


@cache
def asked() -> tuple[Asked, ...]:
    """Every check of a trained model that the smoke profile asserts."""
    return tuple(
        Asked(claim.id, cell, kind, check)
        for claim in load_claims(CLAIMS).values()
        for kind in KINDS
        if claim.experiment == kind
        for cell, checks in claim.cells.items()
        if cell not in claim.paper_only
        for check in checks
        if isinstance(check, Check)
        if check.smoke is not None
    )


# ---------------------------------------------------------------- twins


def move_weights(twin: int) -> None:
    """From now on, change the initial weights of every new model slightly; twin 0 is unchanged."""
    if twin:
        for kind in ARCHITECTURES.values():
            kind.initialize = _moved(kind.initialize, twin)  # type: ignore[method-assign]


def _moved(initialize: Callable[..., Any], twin: int) -> Callable[..., Any]:
    def moved(self: Model, generator: torch.Generator) -> Model:
        model: Model = initialize(self, generator)
        noise = torch.Generator().manual_seed(twin)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + MOVE * torch.randn(parameter.shape, generator=noise))
        return model

    return moved


def measure(kind: str, store: Path, threads: int, seeds: Sequence[int] | None = None) -> Iterator[Row]:
    """Run one kind of the smoke profile's runs here; gives, for each seed, the value of each check and its control."""
    runner = Runner(Store(store), threads=threads)
    checks = [one for one in asked() if one.kind == kind]
    profile = profiles.smoke() if seeds is None else replace(profiles.smoke(), seeds=tuple(seeds))
    for config in profile.subjects(kind)[0]:
        began = time.monotonic()
        record = runner.record(kind, config)
        values = {
            one.name: [float(one.check.statistic(record)), float(one.check.control("smoke")[0](record))]
            for one in checks
        }
        seconds = round(time.monotonic() - began, 1)
        yield {"kind": kind, "seed": config.seed, "failure": record.failure, "seconds": seconds, "values": values}


def run_one(kind: str, machine: str, twin: int, folder: Path, store: Path | None = None) -> None:
    """Write one twin's rows of a kind, unless they are written already.

    ``store`` may already have the records, e.g. from ``pytest benchmarks --store`` under the machine's variables.
    """
    name = f"{machine.replace(' ', '-')}-{twin}"
    to = folder / f"{name}-{kind}.jsonl"
    if to.exists():
        return
    move_weights(twin)
    about = {"machine": machine, "twin": twin, "instructions": torch.backends.cpu.get_cpu_capability()}
    threads = int(MACHINES[machine].get("OMP_NUM_THREADS", "1"))
    rows = [{**about, **row} for row in measure(kind, store or folder / "stores" / name, threads)]
    partial = to.with_suffix(".new")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    partial.replace(to)


def run(jobs: Sequence[tuple[str, str, int]], workers: int, folder: Path) -> int:
    """Run each kind of each twin in its own process, since libraries read the variables when they start.

    Args:
        jobs: kind, machine and twin of each job.
        workers: number of jobs at once.
        folder: the folder for their rows.

    Returns:
        The number of jobs that failed.
    """

    def one(kind: str, machine: str, twin: int) -> int:
        command = [sys.executable, "-m", "studies.rounding_twins", "one", kind, machine, str(twin)]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, **MACHINES[machine]}
        done = subprocess.run([*command, "--folder", str(folder)], env=environment, check=False)
        print(f"{kind} {machine} {twin}: exit {done.returncode}", flush=True)  # noqa: T201 - its log
        return int(done.returncode != 0)

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(lambda job: one(*job), jobs))


# ---------------------------------------------------------------- table


def gather(values: Path, folder: Path) -> list[Row]:
    """Add the twins of ``folder`` to those in ``values``, replacing old ones of the same name."""
    kept = values.read_text("utf-8").splitlines() if values.exists() else []
    made = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    rows = [json.loads(line) for line in (*kept, *made)]
    newest = {(row["kind"], row["machine"], row["twin"], row["seed"]): row for row in rows}
    values.parent.mkdir(parents=True, exist_ok=True)
    values.write_text("".join(json.dumps(row) + "\n" for row in newest.values()), encoding="utf-8")
    return list(newest.values())


def matrices(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """The values of each measured check and its control, [T, S, 2], from twins that have every seed of its kind."""
    found: dict[str, dict[tuple[str, int], dict[int, Row]]] = {kind: {} for kind in KINDS}
    for row in rows:
        found[row["kind"]].setdefault((row["machine"], row["twin"]), {})[row["seed"]] = row
    seeds = profiles.smoke().seeds
    whole = {kind: [twin for twin in twins.values() if set(seeds) <= set(twin)] for kind, twins in found.items()}
    return {
        one.name: np.array([[twin[seed]["values"][one.name] for seed in seeds] for twin in whole[one.kind]])
        for one in asked()
        if all(one.name in twin[seed]["values"] for twin in whole[one.kind] for seed in seeds)
    }


def measured(found: Mapping[str, np.ndarray]) -> list[Asked]:
    """The checks that have values; a claim may be newer than the twins."""
    return [one for one in asked() if one.name in found]


def is_red(check: Check, values: Sequence[float], nulls: Sequence[float]) -> bool:
    """Whether the check would fail, as :func:`taskclust.claims.judge` decides."""
    criterion = check.smoke
    assert criterion is not None
    return criterion.judge(values) != "reproduced" or criterion.judge(nulls) == "reproduced"


def red_draws(found: Mapping[str, np.ndarray], draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """For each check, the draws of the whole command in which it fails, [draws].

    On another machine each seed's run is another twin, independently of other seeds. So a draw takes a twin for every
    kind and seed, with all checks of a kind together. To reach values between and beyond those seen, noise is added by
    the kernel of a smoothed bootstrap (Silverman, 1986: 1.06 deviations times T to the power -1/5).
    """
    checks = measured(found)
    S = len(profiles.smoke().seeds)
    T = {one.kind: len(found[one.name]) for one in checks}
    red = {one.name: np.zeros(draws, dtype=bool) for one in checks}
    width = {name: 1.06 * v[..., 0].std(axis=0, ddof=1) * len(v) ** -0.2 for name, v in found.items()}
    for draw in range(draws):
        chosen = {kind: rng.integers(n, size=S) for kind, n in T.items()}
        for one in checks:
            values = found[one.name][chosen[one.kind], np.arange(S)]
            smoothed = values[:, 0] + width[one.name] * rng.standard_normal(S)
            red[one.name][draw] = is_red(one.check, smoothed.tolist(), values[:, 1].tolist())
    return red


def other_seeds(rows: Sequence[Row], command: str) -> str:
    """The page that says how often as many other seeds as the profile has would be red, check by check.

    A draw takes that many of the seeds, for all checks of a kind the same, without replacement.
    """
    rng, n = np.random.default_rng(0), len(profiles.smoke().seeds)
    whole, lines = np.zeros(DRAWS, dtype=bool), []
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        draws = [rng.choice(len(of_kind), n, replace=False) for _ in range(DRAWS)]
        for one in (one for one in asked() if one.kind == kind):
            values = np.array([row["values"][one.name] for row in of_kind])
            red = np.array([is_red(one.check, *values[draw].T.tolist()) for draw in draws])
            whole |= red
            lines.append({
                "claim": f"{one.claim}[{one.cell}]",
                "check": one.check.name,
                "criterion": str(one.check.smoke),
                "mean": f"{values[:, 0].mean():.3f}",
                "deviation of a seed": f"{values[:, 0].std(ddof=1):.3f}",
                "chance of red": f"{red.mean():.2%}",
            })  # fmt: skip
    lines.sort(key=lambda line: -float(str(line["chance of red"]).rstrip("%")))
    counts = ", ".join(f"{sum(row['kind'] == kind for row in rows)} of {kind}" for kind in KINDS)
    return (
        f"Made by `{command}` from runs of the smoke profile with other seeds than its own: {counts}.\n\n"
        f"**The chance that {n} other seeds are red: {whole.mean():.2%}**, from {DRAWS:,} draws of {n} of these seeds. "
        "This is the chance that a change of the code turns the smoke claims red which changes what is drawn and "
        "nothing else.\n\n"
        f"{tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)}\n"
    )


def check_rows(found: Mapping[str, np.ndarray], red: Mapping[str, np.ndarray]) -> list[Row]:
    """One row per check, nearest to its criterion first."""
    rows = []
    for one in measured(found):
        values = found[one.name][..., 0]  # (T, S)
        twins = float(values.mean(axis=1).std(ddof=1))
        distance = _distance(one.check, float(values.mean()), twins)
        rows.append({
            "claim": f"{one.claim}[{one.cell}]",
            "check": one.check.name,
            "criterion": str(one.check.smoke),
            "mean": f"{values.mean():.3f}",
            "lowest, highest seed": f"{values.mean(axis=0).min():.3f}, {values.mean(axis=0).max():.3f}",
            "error of seeds": f"{values.mean(axis=0).std(ddof=1) / np.sqrt(values.shape[1]):.3f}",
            "error of twins": f"{twins:.3f}",
            "errors of twins to the criterion": "–" if distance is None else f"{distance:.1f}",
            "twins red": f"{_red_twins(one.check, found[one.name]).sum()} of {len(values)}",
            "chance of red": f"{red[one.name].mean():.2%}",
        })  # fmt: skip
    return sorted(rows, key=lambda row: float(row["errors of twins to the criterion"].replace("–", "inf")))


def _distance(check: Check, mean: float, error: float) -> float | None:
    """The distance of the mean from the criterion's bound, in errors of twins; None if there is no single bound."""
    criterion = check.smoke
    if error < NO_ERROR or not isinstance(criterion, AtLeast | AtMost | Exceeds):
        return None
    bound = criterion.margin if isinstance(criterion, Exceeds) else criterion.bound
    return (bound - mean if isinstance(criterion, AtMost) else mean - bound) / error


def _red_twins(check: Check, values: np.ndarray) -> np.ndarray:
    """Whether each twin itself failed, [T]."""
    return np.array([is_red(check, twin[:, 0].tolist(), twin[:, 1].tolist()) for twin in values])


def page(rows: Sequence[Row], command: str) -> str:
    """The page: the chance that the whole command fails, then the table."""
    found = matrices(rows)
    red = red_draws(found, DRAWS, np.random.default_rng(0))
    runs: dict[str, int] = {}
    failed: dict[str, np.ndarray] = {}
    for one in measured(found):
        runs[one.kind] = len(found[one.name])
        red_twins = _red_twins(one.check, found[one.name])
        failed[one.kind] = failed.get(one.kind, red_twins) | red_twins
    machines = {row["machine"]: row["instructions"] for row in rows}
    whole = float(np.any(list(red.values()), axis=0).mean())
    counts = ", ".join(f"{n} of {kind} ({np.count_nonzero(failed[kind])} red)" for kind, n in runs.items())
    verdict = (
        f"**The chance that a sound build is red on another machine: {whole:.2%}** (at most 0.5 % is allowed), from "
        f"{DRAWS:,} draws of a twin for every seed."
    )
    parts = [
        f"Made by `{command}` from runs of the smoke profile ({len(profiles.smoke().seeds)} seeds each): {counts}.",
        f"Instruction sets: {', '.join(f'{name} ({level})' for name, level in machines.items())}.",
        verdict,
        tabulate(check_rows(found, red), headers="keys", tablefmt="github", disable_numparse=True),
    ]
    if younger := [one.name for one in asked() if one.name not in found]:
        parts.append(f"Not measured yet: {'; '.join(younger)}.")
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run", help="train and probe twins")
    runs.add_argument("--machines", default=",".join(MACHINES), help=f"some of {', '.join(MACHINES)}")
    runs.add_argument("--twins", type=int, default=8, help="twins per machine (8)")
    runs.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once (one per core)")
    runs.add_argument("--kinds", default=",".join(KINDS), help=f"some of {', '.join(KINDS)}, run in this order")
    one = verbs.add_parser("one", help="train and probe one twin here, in this environment")
    one.add_argument("kind", choices=KINDS)
    one.add_argument("machine", choices=MACHINES)
    one.add_argument("twin", type=int)
    one.add_argument("--store", type=Path, help="a store with the records of a run of the claims")
    table = verbs.add_parser("table", help="write the table of measured values")
    table.add_argument("--values", type=Path, default=VALUES, help=f"where all twins' rows are kept ({VALUES})")
    seeds = verbs.add_parser("seeds", help="run other seeds than the profile's, and write the table of them")
    seeds.add_argument("--values", type=Path, default=SEEDS, help=f"where their rows are kept ({SEEDS})")
    seeds.add_argument("--store", type=Path, help="keep their records here, or read those that are there")
    for verb in (runs, one, table, seeds):
        verb.add_argument("--folder", type=Path, default=FOLDER, help=f"where twins are kept ({FOLDER})")
    options = parser.parse_args(arguments)
    if options.verb == "one":
        run_one(options.kind, options.machine, options.twin, options.folder, options.store)
        return 0
    if options.verb == "run":
        machines, kinds = options.machines.split(","), options.kinds.split(",")
        jobs = [(kind, machine, twin) for kind in kinds for twin in range(options.twins) for machine in machines]
        return run(jobs, options.workers, options.folder)
    if options.verb == "seeds":
        store = options.store or options.folder / "stores" / "other-seeds"
        fresh = [row for kind in KINDS for row in measure(kind, store, 1, OTHER_SEEDS)]
        options.values.write_text("".join(json.dumps(row) + "\n" for row in fresh), encoding="utf-8")
        page_of_seeds = other_seeds(fresh, "python -m studies.rounding_twins seeds")
        options.values.with_suffix(".md").write_text(page_of_seeds, encoding="utf-8")
        print(page_of_seeds)  # noqa: T201 - the result
        return 0
    rows = gather(options.values, options.folder)
    to = options.values.parent / "twins.md"
    to.write_text(page(rows, "python -m studies.rounding_twins table"), encoding="utf-8")
    print(to.read_text("utf-8"))  # noqa: T201 - the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
