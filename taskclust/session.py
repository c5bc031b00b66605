"""What one run of pytest collects: the profile, the records it obtained, the verdicts, and the report of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from taskclust import experiments
from taskclust.claims import CellResult, Claim, judge
from taskclust.config import ConfigError
from taskclust.engines import obtain_all
from taskclust.estimate import Estimate, estimate
from taskclust.profiles import Profile
from taskclust.report import tables_of, verdict_rows, write_report
from taskclust.runner import Runner
from taskclust.store import RecordError, StoreError

_SCALES = {"smoke": "at SMOKE scale, no reproduction", "paper": "at paper scale", "llm": "on language models"}


class Unobtainable(Exception):
    """The records of a claim cannot be had, for a reason that needs no traceback."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a claim, of one subject: the one there is, or a language model, say."""

    claim: Claim
    name: str
    subject: str
    configs: list[Any]  # one a seed

    @property
    def title(self) -> str:
        """As in tables: of one subject the cell alone."""
        return f"{self.subject}: {self.name}" if self.subject else self.name


@dataclass
class ClaimSession:
    """One run of pytest.

    Args:
        profile: the scale, with the options applied.
        whole: the same without the options that shorten it: what a known failure is about.
        runner: how to run one.
        command: what was typed.
        overrides: the options given that change what is measured.
        workers: runs at once; None chooses.
    """

    profile: Profile
    whole: Profile
    runner: Runner
    command: str
    overrides: str
    workers: int | None = None
    claims: dict[str, Claim] = field(default_factory=dict)  # those collected, run or not
    n_collected: int = 0  # tests of the scale's claims, before any was deselected
    is_part: bool = False  # some were, by -k, -m, --deselect, --lf
    chosen: set[str] = field(default_factory=set)  # experiments whose records are needed
    records: dict[str, dict[str, list[Any]]] = field(default_factory=dict)  # by experiment and subject
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    results: list[CellResult] = field(default_factory=list)

    def cells(self, claim: Claim) -> list[Cell]:
        """What of the claim is decided at this scale."""
        subjects = self.profile.subjects(claim.experiment)
        asked = [name for name in claim.cells if self.profile.name != "smoke" or name not in claim.paper_only]
        return [
            Cell(claim, name, subject_name(claim.experiment, configs), configs)
            for configs in subjects
            for name in asked
        ]

    def scale(self, claim: Claim) -> str:
        """What the claim's known failures are known at."""
        return self.profile.scale(claim.experiment)

    def is_whole(self, claim: Claim) -> bool:
        """Is the claim decided from all that a known failure is about?"""
        return self.profile.subjects(claim.experiment) == self.whole.subjects(claim.experiment)

    def estimates(self) -> list[Estimate]:
        """What the runs of the chosen claims would cost."""
        chosen = [name for name in experiments.names() if name in self.chosen]
        groups = [(name, configs) for name in chosen for configs in self.profile.subjects(name)]
        return [one for name, configs in groups for one in estimate(self.runner, name, configs)]

    def obtain(self, cell: Cell) -> list[Any]:
        """The records a cell needs, one a seed, computed on first use; what failed once is not tried again.

        Raises:
            Unobtainable: the configuration, the store or the memory does not allow it.
        """
        of_subjects = self.records.setdefault(cell.claim.experiment, {})
        if cell.subject in of_subjects:
            return of_subjects[cell.subject]
        place = (cell.claim.experiment, cell.subject)
        if place in self.failures:
            raise Unobtainable(self.failures[place])
        try:
            of_subjects[cell.subject] = obtain_all(self.runner, cell.claim.experiment, cell.configs, self.workers)
        except (ConfigError, RecordError, StoreError, torch.OutOfMemoryError) as error:
            self.failures[place] = str(error)
            raise Unobtainable(str(error)) from error
        except Exception as error:
            self.failures[place] = f"{' '.join(filter(None, place))}: {type(error).__name__}: {error}"
            raise
        return of_subjects[cell.subject]

    def decide(self, cell: Cell, records: Sequence[Any]) -> CellResult:
        """Judge one cell and keep the verdict for the report."""
        result = judge(
            cell.claim, cell.name, records, self.profile.name, scale=self.scale(cell.claim), subject=cell.subject
        )
        self.results.append(result)
        return result

    def all_records(self) -> dict[str, list[Any]]:
        """By experiment, the subjects' one after another."""
        return {name: [r for records in found.values() for r in records] for name, found in self.records.items()}

    def write_report(self, folder: Path) -> None:
        """Write the report of whatever was decided."""
        write_report(
            folder,
            self.profile.name,
            self.results,
            self.claims,
            self.all_records(),
            command=self.command,
            overrides=self.overrides,
        )

    def title(self) -> str:
        """What the closing table is of."""
        return f"claims {_SCALES[self.profile.name]}{' with ' + self.overrides if self.overrides else ''}"

    def closing_tables(self) -> dict[str, list[dict[str, Any]]]:
        """By title: the verdicts, then the tables of experiments that ask for it."""
        shown = {
            name: records
            for name, records in self.all_records().items()
            if getattr(experiments.part(name, "tables"), "ON_TERMINAL", False)
        }
        return {self.title(): verdict_rows(self.results, self.claims), **tables_of(shown)}

    def of_other_threads(self) -> str:
        """A line about records that another number of threads made than was asked for; empty where there are none.

        Threads are no part of a record's key, for rounding is no part of a claim: what is stored is served.
        """
        if self.runner.device != "cpu":
            return ""
        trained = [name for name in self.records if hasattr(experiments.part(name, "config"), "stages")]
        made = [r.provenance["threads"] for name in trained for r in self.all_records()[name]]
        others = [threads for threads in made if threads != self.runner.threads]
        if not others:
            return ""
        numbers = ", ".join(map(str, sorted(set(others))))
        return (
            f"threads: {len(others)} of {len(made)} records were made with {numbers} and are served as they are; "
            f"--recompute makes them with {self.runner.threads}"
        )


def subject_name(experiment: str, configs: Sequence[Any]) -> str:
    """How tables and tests call what is probed; empty where there is one."""
    label = getattr(experiments.part(experiment, "run"), "label", None)
    return str(label(configs[0])) if label else ""
