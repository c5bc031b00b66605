"""Verdicts as tables, made from results without computing any score."""

from collections.abc import Iterable, Mapping

from taskclust.claims import CellResult, CheckResult, Claim, shown
from taskclust.claims.criteria import Verdict
from taskclust.formats import Rows, band, measured, number

_MARKS = {"reproduced": "✔", "not reproduced": "✘", "inconclusive": "?", None: "–"}


def verdict_word(verdict: Verdict | None, profile: str) -> str:
    """The verdict with its sign, in words for the profile: a smoke run never says "reproduced"."""
    return f"{_MARKS[verdict]} {shown(verdict, profile)}"


#: Replaces the conditions of a claim that are not judged at smoke scale.
PAPER_ALONE = "at the paper's scale alone"


def verdict_rows(results: Iterable[CellResult], claims: Mapping[str, Claim]) -> Rows:
    """One row per condition, in the claims' order, including those that were not run."""
    by_claim: dict[str, dict[str, CellResult]] = {}
    for result in results:
        by_claim.setdefault(result.claim, {})[result.cell] = result
    profile = next((r.profile for found in by_claim.values() for r in found.values()), "smoke")
    rows = []
    for claim in claims.values():
        found = by_claim.get(claim.id, {})
        asked = [cell for cell in claim.cells if cell not in claim.paper_only or profile == "paper"]
        if claim.elsewhere and not found:
            asked = [] if profile == "llm" else [claim.elsewhere]
        elif profile == "llm" or not found.keys() <= claim.cells.keys():  # its conditions have subjects
            asked = list(found)
        shown_cells = asked or ([] if profile == "llm" else [PAPER_ALONE])
        rows += [_verdict_row(claim, cell, found.get(cell)) for cell in shown_cells]
    return rows


def closing_rows(results: Iterable[CellResult], claims: Mapping[str, Claim]) -> Rows:
    """One row per judged condition, within 100 columns: the verdict, and the number that decided it.

    A star marks a known failure.
    """
    by_claim: dict[str, list[CellResult]] = {}
    for result in results:
        by_claim.setdefault(result.claim, []).append(result)
    return [_closing_row(claim, result) for claim in claims.values() for result in by_claim.get(claim.id, ())]


def _closing_row(claim: Claim, result: CellResult) -> dict[str, str | int]:
    check, is_known = _first(result), claim.known_failure(result.scale, result.cell) is not None
    asked = check.criterion.replace("consistent with", "about").split(",")[0] if check else ""
    if " ±" in asked:  # the tolerance is on the page
        asked = asked.split(" ±")[0].replace("=", "about")
    return {
        "verdict": verdict_word(result.verdict, result.profile) + "*" * is_known,
        "claim": f"{claim.id}: {result.cell}",
        "n": len(result.seeds),
        "measured": measured(check.mean, check.low, check.high) if check else "nothing is asserted",
        "asked": asked,
    }


def _verdict_row(claim: Claim, cell: str, result: CellResult | None) -> dict[str, str | int]:
    row: dict[str, str | int] = {"claim": claim.id, "cell": cell, "where": claim.place}
    if result is None:
        return {**row, "verdict": "not run", "seeds": 0, "deciding check": "", "from": ""}
    is_known = claim.known_failure(result.scale, cell) is not None
    check = _first(result)
    return {
        **row,
        "verdict": verdict_word(result.verdict, result.profile) + (" (known finding)" if is_known else ""),
        "seeds": len(result.seeds),
        "deciding check": _deciding(check),
        "from": check.source if check else "",
    }


def _first(result: CellResult) -> CheckResult | None:
    """The check that the verdict depends on: the first with the cell's verdict."""
    return next((c for c in result.checks if c.verdict == result.verdict), None)


def _deciding(check: CheckResult | None) -> str:
    if check is None:
        return "nothing is asserted"
    statistic = f"{number(check.mean)}{band(check.low, check.high)}"
    return f"{check.name} {statistic} ({check.criterion}; null {number(check.null_mean)})"


def check_rows(results: Iterable[CellResult]) -> Rows:
    """One row per check, as text to be read: everything a verdict depends on."""
    return [
        {
            "claim": result.claim,
            "cell": result.cell,
            "check": check.name,
            "verdict": verdict_word(check.verdict, result.profile),
            "n": len(result.seeds),
            "mean": number(check.mean),
            "95 % interval": band(check.low, check.high).strip(),
            "criterion": check.criterion,
            "from": check.source,
            "null": number(check.null_mean),
            "null is": check.null_name,
            "null fails": "yes" if check.null_fails else "NO",
            "reason": check.reason,
        }
        for result in results
        for check in result.checks
    ]


def check_numbers(results: Iterable[CellResult]) -> Rows:
    """One row per check, as unrounded numbers to compute with; None if missing.

    ``low`` and ``high`` are the ends of the 95 % interval of the mean, ``control`` is the negative control's mean;
    ``criterion``, ``bound`` and ``tolerance`` are those of :class:`taskclust.claims.criteria.Terms`.
    """
    return [
        {
            "claim": result.claim,
            "cell": result.cell,
            "check": check.name,
            "verdict": shown(check.verdict, result.profile),
            "n": len(result.seeds),
            "mean": check.mean,
            "low": check.low,
            "high": check.high,
            "control": check.null_mean,
            "control_name": check.null_name,
            "control_fails": check.null_fails,
            "criterion": check.terms.relation,
            "bound": check.terms.bound,
            "tolerance": check.terms.tolerance,
            "source": check.source,
            "reason": check.reason,
        }
        for result in results
        for check in result.checks
    ]


def value_rows(results: Iterable[CellResult]) -> Rows:
    """One row per check and seed, with the statistic's unrounded value."""
    return [
        {"claim": result.claim, "cell": result.cell, "check": check.name, "seed": seed, "value": value}
        for result in results
        for check in result.checks
        for seed, value in zip(result.seeds, check.values, strict=True)
    ]
