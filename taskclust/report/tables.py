"""Verdicts as tables: for the terminal, Markdown, CSV and JSON. Reads results; computes no score."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from taskclust.claims import CLAIMS, QUARANTINE, CellResult, CheckResult, shown
from taskclust.claims.measures import LEVELS, epochs_to, last_drop, tuning
from taskclust.claims.statistics import Verdict, interval
from taskclust.config import LABELS, PRINTED_CLUSTERS, PRINTED_DROPS, PRINTED_PARAMETERS, PRINTED_SIZES, SPLITS

_MARKS = {"reproduced": "✔", "not reproduced": "✘", "inconclusive": "?", None: "–"}

_NULLS = {"twin": ", null: randomly initialised", "bag": ", null: bag of tokens"}

#: Table 2's names of the methods.
METHODS = {
    "direct": "direct fine-tuning",
    "head": "language head fine-tuning",
    "linear": "linear switch network",
    "mlp": "MLP-based switch network",
}

#: §4.1's names of what is done before tuning.
ARM_NAMES = {
    "identity": "task identity pre-training",
    "instruction": "instruction pre-training",
    "none": "no pre-training",
    "shuffled": "shuffled identities (null)",
}


def verdict_word(verdict: Verdict | None, profile: str) -> str:
    """The verdict as shown: a smoke run never says "reproduced"."""
    return f"{_MARKS[verdict]} {shown(verdict, profile)}"


#: What stands for the cells of a claim that small models are not asked about.
PAPER_ALONE = "at the paper's scale alone"


def verdict_rows(results: Iterable[CellResult]) -> list[dict[str, Any]]:
    """One row a claim and cell, in the registry's order, then the cells that were not run."""
    by_cell = {(r.claim, r.cell): r for r in results}
    profile = next(iter(by_cell.values())).profile if by_cell else "smoke"
    rows = []
    for claim in CLAIMS.values():
        if profile == "llm":
            cells = [cell for name, cell in by_cell if name == claim.id]
        else:
            cells = [c for c in claim.cells if c not in claim.paper_only or profile == "paper"]
            cells = cells or ["each model, by -m llm" if claim.needs == "language" else PAPER_ALONE]
        for cell in cells:
            result = by_cell.get((claim.id, cell))
            row = {
                "claim": claim.id,
                "cell": cell,
                "where": claim.where,
                "verdict": "not run",
                "seeds": 0,
                "deciding check": "",
                "from": "",
            }
            if result is not None:
                row |= {
                    "verdict": verdict_word(result.verdict, profile) + _finding(result),
                    "seeds": len(result.seeds),
                    "deciding check": _deciding(result),
                    "from": check.source if (check := _first(result)) else "",
                }
            rows.append(row)
    return rows


def _finding(result: CellResult) -> str:
    return " (known finding)" if (result.scale, result.claim, result.cell) in QUARANTINE else ""


def _first(result: CellResult) -> CheckResult | None:
    """The check that the verdict hangs on: the first with the cell's verdict."""
    return next((c for c in result.checks if c.verdict == result.verdict), None)


def _deciding(result: CellResult) -> str:
    if (check := _first(result)) is None:
        return "nothing is asserted"
    return f"{check.name} {number(check.mean)}{band(check)} ({check.criterion}; null {number(check.null_mean)})"


def number(value: float | None) -> str:
    """A value with three digits after the point, or as a count."""
    if value is None or math.isnan(value):
        return "–"
    rounded = round(value, 3) + 0.0  # no -0
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{rounded:.3f}".rstrip("0").rstrip(".")


def band(check: CheckResult) -> str:
    """The 95 % interval over seeds, where there is one and it has a width."""
    if check.low is None or check.high is None or check.low == check.high:
        return ""
    return f" [{number(check.low)}, {number(check.high)}]"


def check_rows(results: Iterable[CellResult]) -> list[dict[str, Any]]:
    """One row a check: everything a verdict rests on."""
    return [
        {
            "claim": result.claim,
            "cell": result.cell,
            "check": check.name,
            "verdict": verdict_word(check.verdict, result.profile),
            "n": len(result.seeds),
            "mean": number(check.mean),
            "95 % interval": band(check).strip(),
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


def size_rows(datasets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Table 3 beside ours, one row a split."""
    return [
        {
            "set": split,
            "paper": printed,
            "ours": ", ".join(str(s) for s in sorted({d["sizes"][split] for d in datasets})),
            "seeds": len(datasets),
        }
        for split, printed in PRINTED_SIZES.items()
    ]


def count_rows(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Table 8 beside ours, one row a width."""
    return [
        {"hidden dimension": width, "paper": printed, "ours": parameters["counts"][str(width)]}
        for width, printed in PRINTED_PARAMETERS.items()
    ]


def alignment_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Table 2 beside ours, one row a method: mean and 95 % interval over seeds; how often its switch fires.

    The first row is the base model's, on toxic instructions with the outputs that the methods are to give them.
    """
    records = [r for r in records if not r["failure"]]

    def over_seeds(*path: str) -> str:
        return _with_interval([float(_part(record, path)) for record in records])

    places: list[tuple[str, ...]] = [("base",), *(("methods", name) for name in PRINTED_DROPS)]
    places += [("shuffled", kind) for kind in ("linear", "mlp")]
    rows = []
    for part, *name in places if records else ():
        row, method = (part, *name), "".join(name)
        has_switch, is_tuned = (name in _part(records[0], row) for name in ("fires", "history"))
        rows.append({
            "method": METHODS.get(method, "base model") + (", null: labels shuffled" if part == "shuffled" else ""),
            "task accuracy, paper": "1.00" if part == "methods" else "–",
            "ours": over_seeds(*row, "source"),
            "on other tasks": over_seeds(*row, "others"),
            "accuracy drop, paper": number(PRINTED_DROPS[method]) if part == "methods" else "–",
            "drop, ours": "–" if part == "base" else over_seeds(*row, "drop"),
            "drop, last epoch": _with_interval([last_drop(method)(r) for r in records]) if is_tuned else "–",
            "fires on source": over_seeds(*row, "fires", "source") if has_switch else "–",
            "fires on others": over_seeds(*row, "fires", "others") if has_switch else "–",
            "seeds": len(records),
        })  # fmt: skip
    return rows


def tuning_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figure 5b in numbers, one row an arm: each seed's epochs to fixed accuracies on the validation set."""
    records = [r for r in records if not r["failure"]]

    def epochs(curve: np.ndarray, level: float) -> str:
        epoch = epochs_to(curve, level)
        return str(epoch) if epoch < len(curve) else "never"

    rows = []
    for arm, name in ARM_NAMES.items() if records else ():
        curves = [tuning(record, arm) for record in records]
        before = [record["pretraining"].get(arm) for record in records]
        rows.append({
            "before tuning": name,
            "epochs of it": "–" if None in before else ", ".join(str(stage["best_epoch"]) for stage in before),
            **{f"epochs to {level}": ", ".join(epochs(curve, level) for curve in curves) for level in LEVELS},
            "mean accuracy": _with_interval([float(curve.mean()) for curve in curves]),
            "accuracy at the end": _with_interval([float(curve[-1]) for curve in curves]),
            "seeds": ", ".join(str(record["config"]["seed"]) for record in records),
        })  # fmt: skip
    return rows


def mapping_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Clusters as many as mappings, one row a split and state: what they are, beside the nulls; with 95 % intervals."""
    scores = [record["by_mapping"] for record in records if not record["failure"]]
    readings: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "untrained": lambda score: score["states"][0],
        "at the end": lambda score: score["states"][-1],
        "null: bag of symbols": lambda score: score["bag"],
        "null: nothing merged": lambda score: score["unmerged"],
    }
    columns = {"F1 by mapping": "f1", "merging of a mapping's distributions": "merging"}
    rows = []
    for split in SPLITS if scores else ():
        for name, reading in readings.items():
            values = {title: [reading(found[split][score]) for found in scores] for title, score in columns.items()}
            cells = {title: _with_interval(np.array(part, dtype=float).tolist()) for title, part in values.items()}
            rows.append({"set": split, "top layer's states": name, **cells, "seeds": len(scores)})
    return rows


def start_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far the top layer's F1 at the end depends on the start of t-SNE, one row a split and identity.

    Records of version 5 hold one embedding, that of lowest divergence among three starts, and their rows say so.
    """
    records = [record for record in records if not record["failure"]]
    rows = []
    for split in SPLITS if records else ():
        scores = [record["scores"][split] for record in records]
        for label in LABELS:
            means = [float(part["tsne"][label]["f1"][-1][-1]) for part in scores]
            of_seeds = _deviation(means)
            row = {"set": split, "clusters by": label, "F1": _with_interval(means), "seeds": len(records)}
            row |= {"starts": "1, of lowest divergence among 3", "deviation of seeds": number(of_seeds)}
            if all("starts" in part for part in scores):
                starts = [part["starts"][label]["f1"][-1][-1] for part in scores]
                of_starts = math.sqrt(sum(_deviation(part) ** 2 for part in starts) / len(starts))
                share = of_starts**2 / len(starts[0]) / of_seeds**2 if of_seeds else math.nan
                row |= {"starts": str(len(starts[0])), "deviation of starts": number(of_starts)}
                row["starts' part of the seeds' variance"] = number(share)
            rows.append(row)
    return rows


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation of the sample; NaN of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _with_interval(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % interval, where there is one and it has a width."""
    mean, low, high = map(number, (sum(values) / len(values), *interval(values)))
    return mean if len(values) < 2 or low == high else f"{mean} [{low}, {high}]"


def language_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Table 1, then each probed model and its nulls at their layers of best F1 by task, with 95 % intervals of F1."""
    rows = [
        {"model": f"{name} (paper)", "clustered": "–", "layer": "–", **_scores(cells)}
        for name, cells in PRINTED_CLUSTERS.items()
    ]
    for record in records:
        parts = {"model": record["model"], **record["nulls"]}
        for who, part in parts.items():
            for space, clustered in (("tsne", "after t-SNE"), ("raw", "states")):
                layer = part["best_layer"][space]
                table, spread = part["scores"][space], part["interval"][space]
                cells = {label: tuple(table[label][m][layer] for m in ("f1", "ari", "ami")) for label in table}
                f1_spread = {label: spread[label]["f1"] for label in table}
                rows.append({
                    "model": record["name"] + _NULLS.get(who, ""),
                    "clustered": clustered,
                    "layer": "–" if who == "bag" else f"{part['layers'][layer]} of {record['model']['layers'][-1]}",
                    **_scores(cells, f1_spread),
                })  # fmt: skip
    return rows


def layer_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """One model's scores after t-SNE, a row a layer, then its nulls at their layers of best F1 by task."""
    rows = []
    for who, part in {"model": record["model"], **record["nulls"]}.items():
        table, best = part["scores"]["tsne"], part["best_layer"]["tsne"]
        for layer in range(len(part["layers"])) if who == "model" else [best]:
            cells = {label: tuple(table[label][m][layer] for m in ("f1", "ari", "ami")) for label in table}
            name = f"layer {part['layers'][layer]}{_NULLS.get(who, '')}"
            rows.append({"states": "bag of tokens" if who == "bag" else name, **_scores(cells)})
    return rows


def _scores(cells: Mapping[str, tuple[float, ...]], spread: dict[str, list[float]] | None = None) -> dict[str, str]:
    """F1 with its interval, ARI and AMI by each label; a dash for a label that was not scored."""
    row = {}
    for label in LABELS:
        name = label.replace("_", "-")
        for metric, value in zip(("F1", "ARI", "AMI"), cells.get(label, (None,) * 3), strict=True):
            ends = (
                f" [{', '.join(map(number, spread[label]))}]" if metric == "F1" and spread and label in spread else ""
            )
            row[f"{name} {metric}"] = number(value) + ends
    return row


def _part(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        record = record[name]
    return record


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def plain(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a table for the terminal."""
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def comma_separated(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
