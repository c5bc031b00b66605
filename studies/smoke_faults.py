"""Which planted faults make the smoke claims fail? Claims that never fail prove nothing.

``python -m studies.smoke_faults run`` plants each fault of ``tests/test_mutants.py`` that a claim could notice, runs
the smoke profile's experiments with it and judges them; ``... table`` writes what failed. Faults of the store, of
resuming and of the starts of k-means and t-SNE are left to the tests: they change no score, or less than seeds differ.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tabulate import tabulate

from taskclust import profiles
from taskclust.claims import judge, load_claims
from taskclust.runner import Runner
from taskclust.store import Store

#: Whether the model must be trained with each fault; otherwise only the probes run with it.
FAULTS = {
    "nothing": False,
    "shuffled identities": True,
    "validation instruction in training": True,
    "hard outputs unchanged": True,
    "inputs see each other": True,
    "positions off by one": True,
    "untrained checkpoint as the last": True,
    "probe one token off": False,
    "layers off by one": False,
    "dropout while probing": False,
    "unmatched F1": False,
    "k-means on the wrong split": False,
    "neighbours find themselves": False,
    "one embedding for all layers": False,
}
FOLDER = Path(".taskclust/faults")
CLAIMS = Path(__file__).parents[1] / "benchmarks"
TABLE = Path("reports/twins/faults.md")


def planter(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """The function that plants a fault; the tests' module is imported here, as it is not part of the package."""
    from tests.test_mutants import FAULTS as PLANTED  # noqa: PLC0415

    return {"nothing": lambda _: None, **{fault.name: fault.plant for fault in PLANTED}}[name]


def red_cells(store: Path) -> list[str]:
    """The conditions of the smoke profile's claims on data and the main experiment that fail, with their verdicts."""
    runner, profile = Runner(Store(store)), profiles.smoke()
    records = {
        name: [runner.record(name, config) for config in profile.subjects(name)[0]]
        for name in ("synthetic", "paper_tables")
    }
    results = [
        judge(claim, cell, records[claim.experiment], "smoke")
        for claim in load_claims(CLAIMS).values()
        if claim.experiment in records
        for cell in claim.cells
        if cell not in claim.paper_only
    ]
    return [f"{r.claim}[{r.cell}] {r.verdict}" for r in results if r.verdict != "reproduced"]


def run_one(name: str, folder: Path) -> None:
    """Write the conditions that fail with one fault, or the error that it ends in."""
    to = folder / f"{name.replace(' ', '-')}.json"
    if to.exists():
        return
    store, sound = folder / "stores" / to.stem, folder / "stores" / "nothing"
    if not FAULTS[name] and name != "nothing" and not store.exists():
        shutil.copytree(sound, store, ignore=shutil.ignore_patterns("synthetic", "unfinished", "locks"))
    with pytest.MonkeyPatch.context() as patch:
        planter(name)(patch)
        try:
            red = red_cells(store)
        except Exception as error:  # noqa: BLE001 - an error counts as a failure
            red = [f"{type(error).__name__}: {error}"]
    to.write_text(json.dumps(red), encoding="utf-8")


def run(workers: int, folder: Path) -> int:
    """Run each fault in its own process, after a run without one; return how many processes failed."""

    def one(name: str) -> int:
        command = [sys.executable, "-m", "studies.smoke_faults", "one", name, "--folder", str(folder)]
        return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode

    folder.mkdir(parents=True, exist_ok=True)
    first, *others = FAULTS
    with ThreadPoolExecutor(workers) as pool:
        return one(first) + sum(map(bool, pool.map(one, others)))


def rows(folder: Path) -> list[dict[str, Any]]:
    """One row per fault that was run: the number of failing conditions, and their names."""
    found = {name: folder / f"{name.replace(' ', '-')}.json" for name in FAULTS}
    read = {name: json.loads(path.read_text("utf-8")) for name, path in found.items() if path.exists()}
    return [{"fault": name, "red cells": len(red), "which": "; ".join(red)} for name, red in read.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("run", "one", "table"))
    parser.add_argument("fault", nargs="?", choices=FAULTS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"folder of the results ({FOLDER})")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at once (one per core)")
    options = parser.parse_args(arguments)
    if options.verb == "one":
        run_one(options.fault, options.folder)
    if options.verb == "run":
        return run(options.workers, options.folder)
    if options.verb == "table":
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        text = tabulate(rows(options.folder), headers="keys", tablefmt="github", disable_numparse=True)
        TABLE.write_text(f"Made by `python -m studies.smoke_faults table`.\n\n{text}\n", encoding="utf-8")
        print(text)  # noqa: T201 - the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
