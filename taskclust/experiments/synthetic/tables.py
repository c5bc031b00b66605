"""The tables of the main experiment; none of them is in the paper."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from taskclust.config import LABELS, SPLITS
from taskclust.experiments.synthetic.record import ByMapping, Record
from taskclust.formats import Rows, number, with_interval

_STATES: dict[str, Callable[[ByMapping], float]] = {
    "untrained": lambda score: float(score.states[0]),
    "at the end": lambda score: float(score.states[-1]),
    "null: bag of symbols": lambda score: float(score.bag),
    "null: nothing merged": lambda score: float(score.unmerged),
}


def tables(records: Sequence[Record]) -> dict[str, Rows]:
    """The tables by title, over seeds."""
    whole = [record for record in records if not record.failure]
    return {
        "Clusters by mapping, an input and its output in one task (not in the paper)": mapping_rows(whole),
        "Starts of t-SNE: F1 of the top layer at the end (not in the paper)": start_rows(whole),
    }


def mapping_rows(records: Sequence[Record]) -> Rows:
    """The scores of one cluster per mapping, with 95 % intervals: one row per split and source of states.

    The sources are the untrained model, the model at the end, and the negative controls.
    """
    columns = {"F1 by mapping": "f1", "merging of a mapping's distributions": "merging"}
    rows = []
    for split in SPLITS if records else ():
        for name, read in _STATES.items():
            cells = {
                title: with_interval([read(record.by_mapping[split][score]) for record in records])
                for title, score in columns.items()
            }
            rows.append({"set": split, "top layer's states": name, **cells, "seeds": len(records)})
    return rows


def start_rows(records: Sequence[Record]) -> Rows:
    """How far the top layer's F1 at the end depends on the start of t-SNE: one row per split and identity.

    Older records have only one embedding, that of lowest divergence among three starts; their rows say so.
    """
    rows = []
    for split in SPLITS if records else ():
        scores = [record.scores[split] for record in records]
        for label in LABELS:
            means = [float(part.tsne[label]["f1"][-1, -1]) for part in scores]
            of_seeds = _deviation(means)
            row = {"set": split, "clusters by": label, "F1": with_interval(means), "seeds": len(records)}
            row |= {"starts": _starts(records, split), "deviation of seeds": number(of_seeds)}
            if all(part.starts for part in scores):
                starts = [part.starts[label]["f1"][-1, -1].tolist() for part in scores]
                of_starts = math.sqrt(sum(_deviation(part) ** 2 for part in starts) / len(starts))
                share = of_starts**2 / len(starts[0]) / of_seeds**2 if of_seeds else math.nan
                row |= {"deviation of starts": number(of_starts)}
                row["starts' part of the seeds' variance"] = number(share)
            rows.append(row)
    return rows


def _starts(records: Sequence[Record], split: str) -> str:
    """How many starts the scores are of; where records differ, with their seeds."""
    seeds: dict[str, list[str]] = {}
    for record in records:
        starts = record.scores[split].starts
        text = str(len(starts[LABELS[0]]["f1"][-1, -1])) if starts else "1, of lowest divergence among 3"
        seeds.setdefault(text, []).append(str(record.config.seed))
    if len(seeds) == 1:
        return next(iter(seeds))
    return "; ".join(f"seed {', '.join(which)}: {text}" for text, which in seeds.items())


def _deviation(values: Sequence[float]) -> float:
    """The sample's standard deviation; NaN for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
