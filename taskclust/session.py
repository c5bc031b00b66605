"""The state of one pytest run: its profile, its records, its verdicts, and the report it writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from taskclust import experiments
from taskclust.claims import CellResult, Claim, judge
from taskclust.claims.criteria import FEWEST
from taskclust.config import ConfigError, first_line
from taskclust.engines import Elsewhere, EngineError, obtain_all
from taskclust.estimate import Estimate, estimate
from taskclust.profiles import Profile
from taskclust.report import closing_rows, tables_of, write_report
from taskclust.runner import Runner
from taskclust.store import RecordError, StoreError

_SCALES = {"smoke": "at SMOKE scale, no reproduction", "paper": "at paper scale", "llm": "on language models"}


class Unobtainable(Exception):
    """The records of a claim cannot be obtained; the message says why, so no traceback is needed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition (cell) of a claim for one subject.

    A subject is e.g. a language model. Experiments that train their models have one subject, whose name is empty.
    """

    claim: Claim
    name: str
    subject: str
    configs: list[Any]  # one per seed

    @property
    def title(self) -> str:
        """The name in tables: "subject: cell", or only the cell's name where the subject has none."""
        return f"{self.subject}: {self.name}" if self.subject else self.name


@dataclass
class ClaimSession:
    """Everything that one pytest run has collected, obtained and judged.

    Args:
        profile: the scale, with all options applied.
        whole: the same scale without the options that shorten it; known failures refer to it.
        runner: obtains the records.
        command: the command line as typed.
        overrides: the given options that change what is measured, as text.
        workers: number of runs at once; with None it is chosen automatically.
        engine: computes the records; with None, processes on this machine do.
    """

    profile: Profile
    whole: Profile
    runner: Runner
    command: str
    overrides: str
    workers: int | None = None
    engine: Elsewhere | None = None
    claims: dict[str, Claim] = field(default_factory=dict)  # all collected claims, by id, run or not
    n_collected: int = 0  # tests of this scale's claims before deselection
    is_part: bool = False  # a file was named, tests were deselected, or a cell ended without a verdict
    n_cells: int = 0  # to be decided
    chosen: set[str] = field(default_factory=set)  # experiments whose records are needed
    records: dict[str, dict[str, list[Any]]] = field(default_factory=dict)  # by experiment and subject
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    results: list[CellResult] = field(default_factory=list)
    unwritten: str = ""  # why there is no report

    def cells(self, claim: Claim) -> list[Cell]:
        """The conditions of the claim that are judged at this scale, for every subject."""
        subjects = self.profile.subjects(claim.experiment)
        asked = [name for name in claim.cells if self.profile.name != "smoke" or name not in claim.paper_only]
        return [
            Cell(claim, name, subject_name(claim.experiment, configs), configs)
            for configs in subjects
            for name in asked
        ]

    def scale(self, claim: Claim) -> str:
        """The name of the scale under which the claim lists its known failures."""
        return self.profile.scale(claim.experiment)

    def is_whole(self, claim: Claim) -> bool:
        """Whether no option shortens the claim's runs, so that its known failures apply as recorded."""
        return self.profile.subjects(claim.experiment) == self.whole.subjects(claim.experiment)

    def estimates(self) -> list[Estimate]:
        """The estimated cost of every run that the chosen claims need."""
        chosen = [name for name in experiments.names() if name in self.chosen]
        groups = [(name, configs) for name in chosen for configs in self.profile.subjects(name)]
        return [one for name, configs in groups for one in estimate(self.runner, name, configs)]

    def obtain(self, cell: Cell) -> list[Any]:
        """The records that a condition needs, one per seed.

        They are computed on first use. A failed computation is not tried again.

        Raises:
            Unobtainable: the configuration or the store prevents it, a record cannot be read, memory runs out, or an
                earlier attempt failed.
            Exception: any other error of a run, on its first attempt.
        """
        of_subjects = self.records.setdefault(cell.claim.experiment, {})
        if cell.subject in of_subjects:
            return of_subjects[cell.subject]
        place = (cell.claim.experiment, cell.subject)
        if place in self.failures:
            raise Unobtainable(self.failures[place])
        try:
            obtain = self.engine.obtain_all if self.engine else obtain_all
            of_subjects[cell.subject] = obtain(self.runner, cell.claim.experiment, cell.configs, self.workers)
        except (ConfigError, EngineError, RecordError, StoreError, torch.OutOfMemoryError) as error:
            self.failures[place] = str(error)
            raise Unobtainable(str(error)) from error
        except OSError as error:
            where, what = error.filename or self.runner.store.root, error.strerror or error
            text = f"{str(where)!r}: {what}; free or unlock it and run again: finished work is kept in the store"
            self.failures[place] = text
            raise Unobtainable(text) from error
        except Exception as error:
            self.failures[place] = f"{' '.join(filter(None, place))}: {type(error).__name__}: {error}"
            raise
        return of_subjects[cell.subject]

    def decide(self, cell: Cell, records: Sequence[Any]) -> CellResult:
        """The verdict on one condition, which is also kept for the report."""
        result = judge(
            cell.claim, cell.name, records, self.profile.name, scale=self.scale(cell.claim), subject=cell.subject
        )
        self.results.append(result)
        return result

    def all_records(self) -> dict[str, list[Any]]:
        """All records obtained, by experiment; those of several subjects follow one another."""
        return {name: [r for records in found.values() for r in records] for name, found in self.records.items()}

    def write_report(self, folder: Path) -> None:
        """Write the report of all verdicts so far to ``folder``; if that fails, ``unwritten`` says why."""
        try:
            write_report(
                folder,
                self.profile.name,
                self.results,
                self.claims,
                self.all_records(),
                command=self.command,
                overrides=self.overrides,
            )
        except (ConfigError, OSError) as error:
            self.unwritten = f"report={str(folder)!r}: not written ({error}); the records are kept, run again"
        except Exception as error:  # noqa: BLE001 - whatever a figure raised, the verdicts are still printed
            self.unwritten = f"report={str(folder)!r}: not written ({type(error).__name__}: {first_line(error)})"

    def title(self) -> str:
        """The title of the table of verdicts: the scale, and the options that change what is measured."""
        return f"claims {_SCALES[self.profile.name]}{' with ' + self.overrides if self.overrides else ''}"

    def closing_tables(self) -> dict[str, list[dict[str, Any]]]:
        """The tables printed at the end, by title: the verdicts, then those of experiments with ``ON_TERMINAL`` set."""
        shown = {
            name: records
            for name, records in self.all_records().items()
            if getattr(experiments.part(name, "tables"), "ON_TERMINAL", False)
        }
        return {self.title(): closing_rows(self.results, self.claims), **tables_of(shown)}

    def of_few_seeds(self) -> str:
        """A line about the conditions that are inconclusive over too few seeds; empty if there are none."""
        few = [
            result
            for result in self.results
            if any(one.verdict == "inconclusive" and len(one.values) < FEWEST for one in result.checks)
        ]
        if not few or self.profile.name == "llm":  # whose one model has no seeds
            return ""
        return (
            f"seeds: {len(few)} of {len(self.results)} conditions are inconclusive with fewer than {FEWEST} seeds, "
            f"too few to reproduce anything but counts; add --seeds {FEWEST}"
        )

    def of_other_threads(self) -> str:
        """A line about the records made with another number of threads than requested; empty if there are none.

        Such records are used as they are. The number of threads changes only rounding, on which no claim depends, so it
        is not part of a record's key.
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
            f"threads: {len(others)} of {len(made)} records were made with {numbers} and are used as they are; "
            f"--recompute makes them with {self.runner.threads}"
        )


def subject_name(experiment: str, configs: Sequence[Any]) -> str:
    """The name of what is probed, as tables and tests show it; empty for experiments with only one subject."""
    label = getattr(experiments.part(experiment, "run"), "label", None)
    return str(label(configs[0])) if label else ""
