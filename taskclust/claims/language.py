"""The claim about open language models (§3.4, Table 1), decided on one model at a time by resampling instructions.

Its criteria were written on knowledge of a trial with 600 prompts (F1 by task 0.81). The second check was mended after
a review of this code, before any score of the full run was seen: by mapping the twin passed its old control.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskclust.claims.judging import CellResult, CheckResult
from taskclust.claims.registry import Claim, Source
from taskclust.claims.statistics import AtLeast, Verdict
from taskclust.config import PRINTED_CLUSTERS

Record = dict[str, Any]
#: The statistic in every resample of the instructions, after its value on all of them.
Draws = Callable[[Record], list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheck:
    """A statistic of one model, its criterion for 95 % of the resamples, and the null that must not meet it."""

    name: str
    draws: Draws
    null: Draws
    null_name: str
    criterion: AtLeast
    source: Source
    reason: str
    #: the only architecture of which the paper says so; of others nothing is asserted
    model_type: str | None = None


def _part(record: Record, who: str) -> Record:
    return record["model"] if who == "model" else record["nulls"][who]


def f1(label: str, who: str = "model") -> Draws:
    """F1 after t-SNE at the layer of best F1 by task; ``who`` is "model", "twin" or "bag"."""

    def draws(record: Record) -> list[float]:
        part = _part(record, who)
        point = part["scores"]["tsne"][label]["f1"][part["best_layer"]["tsne"]]
        return [point, *part["resampled_f1"]["tsne"][label]]

    return draws


def above_surface(label: str, who: str = "model") -> Draws:
    """F1 less that of the better null, draw by draw: words alone are told by a bag, the last one by a random twin."""

    def draws(record: Record) -> list[float]:
        surface = np.maximum(f1(label, "twin")(record), f1(label, "bag")(record))
        return np.subtract(f1(label, who)(record), surface).tolist()

    return draws


def _checks(label: str, bound: float, reason: str, model_type: str | None = None) -> tuple[ModelCheck, ...]:
    return (
        ModelCheck(
            name="f1 at the best layer",
            draws=f1(label),
            null=f1(label, "twin"),
            null_name="randomly initialised twin",
            criterion=AtLeast(bound),
            source="table",
            reason=reason,
            model_type=model_type,
        ),
        ModelCheck(
            name="f1 less the better of the random twin's and the bag of tokens'",
            draws=above_surface(label),
            null=above_surface(label, "bag"),
            null_name="bag of tokens, 0 at most by its making",
            criterion=AtLeast(0.05),
            source="ours",
            reason="what the words alone reach shows nothing about the model; the paper does not compare",
            model_type=model_type,
        ),
    )


def _lowest(label: str, *names: str) -> float:
    """The lowest printed F1, two digits."""
    return int(min(PRINTED_CLUSTERS[name][label][0] for name in names) * 100) / 100


CELLS: dict[str, tuple[ModelCheck, ...]] = {
    "task": _checks("task", _lowest("task", *PRINTED_CLUSTERS), "the lowest of Table 1's five models"),
    "distribution_mapping": _checks(
        "distribution_mapping",
        _lowest("distribution_mapping", "LLaMa-7B", "LLaMa-13B", "LLaMa-2-7B-Instruct"),
        "the lowest of Table 1's LLaMa models; the paper finds no such clusters in GPT-J",
        model_type="llama",
    ),
}


LANGUAGE = Claim(
    id="open-llm-clusters",
    where="§3.4, Table 1",
    sentence="Open language models, instruction-tuned or not, cluster prompts by task category; LLaMa models also by "
    "distribution and mapping.",
    needs="language",
    cells={},  # one for each model and each of CELLS
    smoke_asserts="nothing: -m llm judges it, model by model",
)


def judge_model(record: Record, label: str, name: str) -> CellResult:
    """Decide the claim for one model and one identity, like :func:`taskclust.claims.judging.judge` over seeds."""
    checks = [_decide(check, record) for check in CELLS[label]]
    verdicts = {check.verdict for check in checks}
    verdict: Verdict = "reproduced" if verdicts == {"reproduced"} else "inconclusive"  # where nothing is asserted too
    if "not reproduced" in verdicts:
        verdict = "not reproduced"
    return CellResult(LANGUAGE.id, f"{name}: {label}", "llm", [record["config"]["seed"]], [], checks, verdict, "llm")


def _decide(check: ModelCheck, record: Record) -> CheckResult:
    point, *draws = check.draws(record)
    null_point, *null_draws = check.null(record)
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    is_asserted = check.model_type in (None, record["architecture"]["model_type"])
    verdict = check.criterion.decide(low, high) if is_asserted else None
    null_fails = check.criterion.decide(*np.percentile(null_draws, (2.5, 97.5)).tolist()) != "reproduced"
    return CheckResult(
        name=check.name,
        values=[point],
        mean=point,
        low=low,
        high=high,
        criterion=str(check.criterion),
        source=check.source,
        reason=check.reason,
        null_name=check.null_name,
        null_mean=null_point,
        null_fails=null_fails,
        verdict="inconclusive" if verdict == "reproduced" and not null_fails else verdict,
    )
