"""The verdict on one condition of a claim, from its records: every check, together with its negative control."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from taskclust.claims.claim import Check, Claim, ProfileName, ResampledCheck, Statistic
from taskclust.claims.criteria import Terms, Verdict, interval, is_met_by_control, terms

_WORDS = {"reproduced": "holds", "not reproduced": "fails", "inconclusive": "unclear"}
_SCOPES = {"smoke": "smoke", "llm": "this model"}


def shown(verdict: Verdict | None, profile: str) -> str:
    """The verdict in words, as tables show it.

    Passing at smoke scale, or for a model that the paper does not name, reproduces nothing. The words are then "holds",
    "fails" or "unclear", followed by the scope in brackets.
    """
    if verdict is None:
        return "not asserted"
    return f"{_WORDS[verdict]} ({_SCOPES[profile]})" if profile in _SCOPES else verdict


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. ``verdict`` is None if the check is not asserted at the scale."""

    name: str
    values: list[float]  # one per seed
    mean: float
    low: float | None  # 95 % interval of the mean over seeds, or over resamples; None for one seed
    high: float | None
    criterion: str
    terms: Terms  # of the criterion, as plain values
    source: str
    reason: str
    null_name: str
    null_mean: float
    null_fails: bool
    verdict: Verdict | None
    brief: str = ""  # a short name

    def explain(self, profile: str) -> str:
        """The check in one line: statistic, interval, criterion, negative control and verdict."""
        band = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        passes = "which passes too" if math.isfinite(self.null_mean) else "which has no value"
        null = f"null {self.null_mean:.3g} ({self.null_name})" + ("" if self.null_fails else f", {passes}")
        return f"{self.name}: {self.mean:.3g}{band}, criterion {self.criterion}; {null}: {shown(self.verdict, profile)}"


@dataclass(frozen=True, slots=True)
class CellResult:
    """The verdict on one condition (cell) of a claim at one scale, with the checks it depends on."""

    claim: str
    cell: str
    profile: str
    seeds: list[int]
    failures: list[str]
    checks: list[CheckResult]
    verdict: Verdict
    scale: str  # the scale's name in known failures, see :class:`taskclust.profiles.Profile`

    def explain(self) -> str:
        """The verdict, every check and every failed training, as lines of text for a failed test."""
        verdict = shown(self.verdict, self.profile)
        lines = [f"{self.claim}[{self.cell}] at {self.scale} scale, seeds {self.seeds}: {verdict}"]
        return "\n  ".join([*lines, *(check.explain(self.profile) for check in self.checks), *self.failures])

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON, with verdicts in words."""
        plain = asdict(self)
        for part in (plain, *plain["checks"]):
            part["verdict"] = shown(part["verdict"], self.profile)
        return plain


def judge(
    claim: Claim,
    cell: str,
    records: Sequence[Any],
    profile: ProfileName,
    scale: str | None = None,
    subject: str = "",
) -> CellResult:
    """The result of one condition of a claim, from one record per seed.

    The verdict is the worst of its checks': "not reproduced" before "inconclusive" before "reproduced". A check whose
    negative control passes too is inconclusive, as is a condition without an asserted check.

    Args:
        claim: the claim to judge.
        cell: the name of one of its conditions.
        records: one record per seed, with ``failure`` and ``config.seed``.
        profile: the scale's name.
        scale: the scale's name with width and changes, e.g. "paper-768"; the profile's name by default.
        subject: the subject that the records are of, if there are several.
    """
    checks = [_decide(check, records, profile) for check in claim.cells[cell]]
    verdicts = {check.verdict for check in checks}
    verdict: Verdict = "reproduced"
    if "not reproduced" in verdicts:
        verdict = "not reproduced"
    elif "inconclusive" in verdicts or verdicts == {None}:
        verdict = "inconclusive"
    seeds = [record.config.seed for record in records]
    failures = [f"seed {s}: {r.failure}" for s, r in zip(seeds, records, strict=True) if r.failure]
    name = f"{subject}: {cell}" if subject else cell
    return CellResult(claim.id, name, profile, seeds, failures, checks, verdict, scale or profile)


def _decide(check: Check | ResampledCheck, records: Sequence[Any], profile: ProfileName) -> CheckResult:
    if isinstance(check, ResampledCheck):
        (record,) = records
        return _decide_by_resamples(check, record)
    return _decide_over_seeds(check, records, profile)


def _decide_over_seeds(check: Check, records: Sequence[Any], profile: ProfileName) -> CheckResult:
    values = [_read(check.statistic, record, check.worst) for record in records]
    # do not use the worst value here: it would make the negative control fail, which favours the claim
    null, null_name = check.control(profile)
    pairs = [(v, number(null(record))) for v, record in zip(values, records, strict=True) if not record.failure]
    nulls = [control for _, control in pairs] or [check.worst]
    criterion = check.criterion(profile)
    low, high = interval(values) if len(values) > 1 else (None, None)
    verdict: Verdict | None = None
    null_fails = True
    if criterion is not None:
        verdict = criterion.judge(values)
        better = [value - control for value, control in pairs]
        null_fails = bool(np.isfinite(nulls).all()) and not is_met_by_control(criterion, nulls, better)
        if verdict == "reproduced" and not null_fails:
            verdict = "inconclusive"
    return CheckResult(
        name=check.name,
        values=values,
        mean=float(np.mean(values)),
        low=low,
        high=high,
        criterion=str(criterion or check.paper),
        terms=terms(criterion or check.paper),
        source=check.source,
        reason=check.reason,
        null_name=null_name,
        null_mean=float(np.mean(nulls)),
        null_fails=null_fails,
        verdict=verdict,
        brief=check.brief,
    )


def _read(statistic: Statistic, record: Any, worst: float) -> float:
    """The statistic of a seed's record; ``worst`` if its training failed."""
    return worst if record.failure else number(statistic(record))


def number(value: Any) -> float:
    """The value of a statistic as a plain number.

    Raises:
        TypeError: the value is not a number, or is infinite, which neither tests nor tables can use.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a statistic gave {value!r}; it must give one number") from error
    if math.isinf(found):
        raise TypeError(f"a statistic gave {value!r}; it must give a finite number, or NaN if there is none")
    return found


def _decide_by_resamples(check: ResampledCheck, record: Any) -> CheckResult:
    point, *draws = map(float, check.draws(record))
    null_point, *null_draws = map(float, check.null(record))
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    verdict = check.criterion.decide(low, high) if check.is_asserted(record) else None
    ends = np.percentile(null_draws, (2.5, 97.5))
    null_fails = bool(np.isfinite(ends).all()) and check.criterion.decide(*ends.tolist()) != "reproduced"
    return CheckResult(
        name=check.name,
        values=[point],
        mean=point,
        low=low,
        high=high,
        criterion=str(check.criterion),
        terms=terms(check.criterion),
        source=check.source,
        reason=check.reason,
        null_name=check.null_name,
        null_mean=null_point,
        null_fails=null_fails,
        verdict="inconclusive" if verdict == "reproduced" and not null_fails else verdict,
        brief=check.brief,
    )
