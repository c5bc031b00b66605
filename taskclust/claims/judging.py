"""From records to verdicts: every check of a claim's cell over the seeds, beside its null control."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from taskclust.claims.measures import Reading, Record
from taskclust.claims.registry import Check, Claim, ProfileName
from taskclust.claims.statistics import Verdict, interval

_WORDS = {"reproduced": "holds", "not reproduced": "fails", "inconclusive": "unclear"}
_SCOPES = {"smoke": "smoke", "llm": "this model"}


def shown(verdict: Verdict | None, profile: str) -> str:
    """The verdict in words: what holds at smoke scale, or of a model the paper does not name, reproduces nothing."""
    if verdict is None:
        return "not asserted"
    return f"{_WORDS[verdict]} ({_SCOPES[profile]})" if profile in _SCOPES else verdict


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check over all seeds. ``verdict`` is None where the profile asserts nothing of it."""

    name: str
    values: list[float]  # one a seed
    mean: float
    low: float | None  # two-sided 95 % interval of the mean over seeds; None for one seed
    high: float | None
    criterion: str
    source: str
    reason: str
    null_name: str
    null_mean: float
    null_fails: bool
    verdict: Verdict | None

    def explain(self, profile: str) -> str:
        """The check in a line."""
        band = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        null = f"null {self.null_mean:.3g} ({self.null_name})" + ("" if self.null_fails else ", which passes too")
        return f"{self.name}: {self.mean:.3g}{band}, criterion {self.criterion}; {null}: {shown(self.verdict, profile)}"


@dataclass(frozen=True, slots=True)
class CellResult:
    """The verdict of one claim in one cell at one scale."""

    claim: str
    cell: str
    profile: str
    seeds: list[int]
    failures: list[str]
    checks: list[CheckResult]
    verdict: Verdict
    scale: str  # what a finding is known at, see :class:`taskclust.profiles.Profile`

    def explain(self) -> str:
        """Everything a reader of a failed test needs."""
        verdict = shown(self.verdict, self.profile)
        lines = [f"{self.claim}[{self.cell}] at {self.scale} scale, seeds {self.seeds}: {verdict}"]
        return "\n  ".join([*lines, *(check.explain(self.profile) for check in self.checks), *self.failures])

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, the verdicts in words."""
        plain = asdict(self)
        for part in (plain, *plain["checks"]):
            part["verdict"] = shown(part["verdict"], self.profile)
        return plain


def judge(
    claim: Claim,
    cell: str,
    records: Sequence[Record],
    profile: ProfileName,
    seeds: Sequence[int],
    scale: str | None = None,
) -> CellResult:
    """Decide one cell of a claim; the scale is the profile's name unless one of its widths is named, "paper-768".

    The verdict is the worst of its checks': "not reproduced" before "inconclusive" before "reproduced". A check whose
    null meets the same criterion shows nothing and is inconclusive, as is a cell of which nothing is asserted.
    """
    checks = [_decide(check, records, profile) for check in claim.cells[cell]]
    verdicts = {check.verdict for check in checks}
    verdict: Verdict = "reproduced"
    if "not reproduced" in verdicts:
        verdict = "not reproduced"
    elif "inconclusive" in verdicts or verdicts == {None}:
        verdict = "inconclusive"
    failures = [f"seed {s}: {r['failure']}" for s, r in zip(seeds, records, strict=True) if r.get("failure")]
    return CellResult(claim.id, cell, profile, list(seeds), failures, checks, verdict, scale or profile)


def _decide(check: Check, records: Sequence[Record], profile: ProfileName) -> CheckResult:
    values = [_read(check.reading, record, check.worst) for record in records]
    # the worst value would make a null fail, in the claim's favour
    nulls = [check.null(record) for record in records if not record.get("failure")] or [check.worst]
    criterion = check.criterion(profile)
    low, high = interval(values) if len(values) > 1 else (None, None)
    verdict: Verdict | None = None
    null_fails = True
    if criterion is not None:
        verdict = criterion.judge(values)
        null_fails = criterion.judge(nulls) != "reproduced"
        if verdict == "reproduced" and not null_fails:
            verdict = "inconclusive"
    return CheckResult(
        name=check.name,
        values=values,
        mean=float(np.mean(values)),
        low=low,
        high=high,
        criterion=str(criterion or check.paper),
        source=check.source,
        reason=check.reason,
        null_name=check.null_name,
        null_mean=float(np.mean(nulls)),
        null_fails=null_fails,
        verdict=verdict,
    )


def _read(reading: Reading, record: Record, worst: float) -> float:
    """The seed's value; the worst one where training failed."""
    return worst if record.get("failure") else reading(record)
