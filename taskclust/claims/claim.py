"""What a claim is: a sentence of the paper, what is measured, and the numbers that would refute it."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from taskclust.claims.criteria import AtLeast, Criterion

ProfileName = Literal["smoke", "paper", "llm"]
#: How firmly the paper fixes a criterion: printed in a table, said in the text, or chosen by us (with the reason);
#: "fitted" is printed, and a silent point was chosen by it, so that agreement is consistency and no evidence; "later"
#: is ours and was written once runs at the paper's scale had been seen.
Source = Literal["table", "text", "ours", "fitted", "later"]
#: One number of a record.
Statistic = Callable[[Any], float]
#: One number of a record on all its instructions, then the same in each resample of them.
Draws = Callable[[Any], Sequence[float]]

#: How far each check that smoke asks of a training lies beyond its criterion, in errors of rounding twins; tested on
#: the committed twins (tests/studies/test_rounding_twins.py).
POWER = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One statistic, decided over seeds, and its criterion at each scale.

    Args:
        name: of the statistic.
        statistic: of one seed's record.
        null: of the same record, the negative control: what lacks the phenomenon and must not meet the criterion.
        null_name: what the control is.
        paper: the criterion at the paper's scale.
        smoke: at smoke scale; None where small models are not expected to show the phenomenon.
        source: how firmly the paper fixes the criterion.
        reason: why it is that.
        worst: the value of a seed whose training failed; it must not meet a criterion.

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

    def __post_init__(self) -> None:
        for criterion in filter(None, (self.paper, self.smoke)):
            if criterion.judge([self.worst] * 5) == "reproduced":
                fault = f"seeds that failed would pass {criterion}; name worse"
                raise ValueError(f"{self.name}: worst={self.worst!r}: {fault}")

    def criterion(self, profile: ProfileName) -> Criterion | None:
        """The criterion at a scale."""
        return self.smoke if profile == "smoke" else self.paper


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampledCheck:
    """One statistic of one record, decided by the 95 % interval over resamples.

    Args:
        name: of the statistic.
        draws: the statistic, then each resample's.
        null: the same of the negative control, which must not meet the criterion.
        null_name: what the control is.
        criterion: which the whole interval must meet.
        source: how firmly the paper fixes the criterion.
        reason: why it is that.
        is_asserted: of which records; of others the check is shown and asserts nothing.
    """

    name: str
    draws: Draws
    null: Draws
    null_name: str
    criterion: AtLeast
    source: Source
    reason: str
    is_asserted: Callable[[Any], bool] = lambda record: True


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """Why a cell does not reproduce, and the record that shows it. It goes when the cell reproduces."""

    reason: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of the paper and the cells (splits, labels, widths) in which it is decided.

    Args:
        id: its name in tables.
        place: in the paper.
        sentence: what the paper says.
        experiment: whose records decide it, by the name of its folder in ``taskclust/experiments``.
        cells: checks by cell; a cell is reproduced if each of its checks is.
        order: among the claims, in tables.
        smoke_asserts: what of it is asserted at smoke scale, in words.
        paper_only: cells of which small models are asked nothing.
        figures: names of figures to show beside it, with ``*`` for any text.
        known_failures: by scale ("smoke", "llm" or one of the paper's widths, e.g. "paper-768", and what was changed)
            and cell; of several subjects the cell is "subject: cell".
        exact: its statistics are the same on every processor.
        elsewhere: how to run it, where the chosen scale does not have it.
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

    @property
    def smoke_power(self) -> str:
        """Why a sound build is not red at smoke scale on another processor."""
        if self.exact:
            return "counts are exact on every processor"
        return (
            f"means over seeds and over starts of t-SNE lie {POWER} errors of rounding twins or more beyond each "
            "criterion that reports/twins/twins.md lists"
        )

    def known_failure(self, scale: str, cell: str) -> KnownFailure | None:
        """Why a cell is expected to fail at a scale; None where it is not."""
        return self.known_failures.get(scale, {}).get(cell)


def load_claims(folder: Path) -> dict[str, Claim]:
    """The claims of a folder's ``test_*.py``, by id, in their order: each file's ``CLAIM``."""
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
