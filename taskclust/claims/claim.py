"""The classes of a claim: a sentence of the paper, what is measured, and the numbers that would refute it."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from taskclust.claims.criteria import AtLeast, Criterion

ProfileName = Literal["smoke", "paper", "llm"]
#: Where a criterion comes from, and so how firmly the paper fixes it:
#:
#: - "table": printed in one of the paper's tables;
#: - "text": said in the paper's text;
#: - "ours": chosen by us, with the reason;
#: - "fitted": printed, but we chose a silent point by it, so that agreement shows consistency and is no evidence;
#: - "later": chosen by us after runs at the paper's scale had been seen.
Source = Literal["table", "text", "ours", "fitted", "later"]
#: A function that gives one number of a record.
Statistic = Callable[[Any], float]
#: A function that gives one number of a record on all its instructions, then the same number in each resample of them.
Draws = Callable[[Any], Sequence[float]]

#: How far beyond its criterion each check of a training must lie at smoke scale, in errors of rounding twins: standard
#: deviations, between runs that differ only in rounding, of the mean over seeds. It is tested on the committed twins
#: (tests/studies/test_rounding_twins.py).
POWER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One statistic with its negative control and its criterion at each scale; it is decided over seeds.

    Args:
        name: the statistic's name.
        statistic: gives the value of one seed's record.
        null: gives the negative control's value from the same record. The negative control lacks the phenomenon and
            must not meet the criterion.
        null_name: what the negative control is.
        paper: the criterion at the paper's scale.
        smoke: the criterion at smoke scale; None where small models are not expected to show the phenomenon.
        source: how firmly the paper fixes the criterion.
        reason: why it is that.
        worst: the value of a seed whose training failed; it must not meet a criterion.
        smoke_null: the negative control at smoke scale with its name, where the criterion asks so much less there that
            ``null`` may meet it.
        brief: the statistic's name in the tables of README and docs/results.md, where there is little room; ``name`` by
            default.

    Raises:
        ValueError: ``worst`` would pass.
    """

    name: str
    statistic: Statistic
    null: Statistic
    null_name: str
    paper: Criterion
    smoke: Criterion | None
    source: Source
    reason: str = ""
    worst: float = 0.0
    smoke_null: tuple[Statistic, str] | None = None
    brief: str = ""

    def __post_init__(self) -> None:
        for criterion in filter(None, (self.paper, self.smoke)):
            if criterion.judge([self.worst] * 5) == "reproduced":
                fault = f"seeds that failed would pass {criterion}; name worse"
                raise ValueError(f"{self.name}: worst={self.worst!r}: {fault}")

    def control(self, profile: ProfileName) -> tuple[Statistic, str]:
        """The negative control at a scale, and its name."""
        return self.smoke_null if profile == "smoke" and self.smoke_null else (self.null, self.null_name)

    def criterion(self, profile: ProfileName) -> Criterion | None:
        """The criterion at a scale; None if the check is not asserted there."""
        return self.smoke if profile == "smoke" else self.paper


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampledCheck:
    """One statistic of a single record, decided by its 95 % interval over resamples of the instructions.

    Args:
        name: the statistic's name.
        draws: gives the statistic on all instructions, then its value in each resample.
        null: gives the same for the negative control, which must not meet the criterion.
        null_name: what the negative control is.
        criterion: the criterion, which the whole interval must meet.
        source: how firmly the paper fixes the criterion.
        reason: why the criterion is what it is.
        is_asserted: whether the check is asserted of a record; for other records its values are only shown.
        brief: as in :class:`Check`.
    """

    name: str
    draws: Draws
    null: Draws
    null_name: str
    criterion: AtLeast
    source: Source
    reason: str
    is_asserted: Callable[[Any], bool] = lambda record: True
    brief: str = ""


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """Why a condition is not reproduced, and the record that shows it; remove it once the condition is reproduced."""

    reason: str
    evidence: str


#: Characters of a claim's headline.
LONGEST_HEADLINE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of the paper and the conditions (*cells*: splits, labels, widths) in which it is decided.

    Args:
        id: the claim's name in tables.
        place: where the paper makes the claim.
        sentence: what the paper says.
        experiment: the experiment whose records decide the claim: the name of its folder in ``taskclust/experiments``.
        cells: checks by condition. A condition is reproduced if each of its checks is.
        order: the claim's position in tables; lower comes first.
        smoke_asserts: what is asserted at smoke scale, in words.
        paper_only: conditions that are not judged at smoke scale.
        figures: names of figures to show with the claim; ``*`` stands for any text.
        known_failures: known failures by scale, then by condition. Scales are "smoke", "llm" or one of the paper's
            widths, e.g. "paper-768", followed by any changes. With several subjects the condition is "subject: cell".
        exact: whether the statistics are the same on every processor.
        elsewhere: how to run the claim if the chosen scale does not have it.
        headline: the sentence in at most 40 characters, for tables with one row per claim; the ``id`` by default.
    """

    id: str
    place: str
    sentence: str
    experiment: str
    cells: Mapping[str, Sequence[Check] | Sequence[ResampledCheck]]
    order: int = 1_000
    smoke_asserts: str = "the same, with the smoke column's thresholds"
    paper_only: frozenset[str] = frozenset()
    figures: tuple[str, ...] = ()
    known_failures: Mapping[str, Mapping[str, KnownFailure]] = field(default_factory=dict)
    exact: bool = False
    elsewhere: str = ""
    headline: str = ""

    def __post_init__(self) -> None:
        for name, checks in self.cells.items():
            if not checks:
                raise ValueError(f"{self.id}: the cell {name!r} has no checks; give it one, or leave it out")
        if len(self.headline) > LONGEST_HEADLINE:
            raise ValueError(f"{self.id}: headline={self.headline!r}: use at most {LONGEST_HEADLINE} characters")

    @property
    def smoke_power(self) -> str:
        """The reason, in words, why a correct build does not fail at smoke scale on another processor."""
        if self.exact:
            return "counts are exact on every processor"
        return (
            f"means over seeds and over starts of t-SNE lie {POWER} errors of rounding twins or more beyond each "
            "criterion that reports/twins/twins.md lists"
        )

    def known_failure(self, scale: str, cell: str) -> KnownFailure | None:
        """The known failure of a condition at a scale; None if the condition is not expected to fail."""
        return self.known_failures.get(scale, {}).get(cell)


def load_claims(folder: Path) -> dict[str, Claim]:
    """The claims of a folder by id, in table order: the ``CLAIM`` of each ``test_*.py`` file that has one."""
    found = []
    for path in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"_claims.{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None  # it is a Python file
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if hasattr(module, "CLAIM"):
            found.append(module.CLAIM)
    return {claim.id: claim for claim in sorted(found, key=lambda claim: claim.order)}
