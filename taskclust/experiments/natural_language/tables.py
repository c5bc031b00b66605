"""The paper's Table 1 next to our results."""

from collections.abc import Mapping, Sequence

from taskclust.config import LABELS, PRINTED_CLUSTERS
from taskclust.experiments.natural_language.record import Record
from taskclust.formats import Rows, number
from taskclust.probes.scores import LayerScores

_METRICS = ("f1", "ari", "ami")

#: Whether the tables are also printed at the end of a run.
ON_TERMINAL = True


def tables(records: Sequence[Record]) -> dict[str, Rows]:
    """The tables by title, over all models."""
    return {"Table 1: open language models": language_rows(records) if records else []}


def language_rows(records: Sequence[Record]) -> Rows:
    """The rows of Table 1, then those of each probed model and its negative controls, with 95 % intervals of F1.

    Each is shown at its layer of best F1 by task.
    """
    rows = [
        {"model": f"{name} (paper)", "clustered": "–", "layer": "–", **_scores(cells)}
        for name, cells in PRINTED_CLUSTERS.items()
    ]
    for record in records:
        for who, part in _parts(record).items():
            for space, clustered in (("tsne", "after t-SNE"), ("raw", "states")):
                layer = part.best_layer[space]
                spread = {
                    label: part.interval[space][label]["f1"] for label in part.scores[space] if part.interval[space]
                }
                rows.append({
                    "model": f"{record.name}, null: {who}" if who else record.name,
                    "clustered": clustered,
                    "layer": "–" if part is record.bag else f"{_number(record, layer)} of {record.model.layers[-1]}",
                    **_scores(_at_layer(part, space, layer), spread),
                })  # fmt: skip
    return rows


def layer_rows(record: Record) -> Rows:
    """One model's scores, one row per layer, then its negative controls at their best layers by task F1.

    First those of the states, then those after t-SNE.
    """
    rows = []
    for space, clustered in (("raw", "states"), ("tsne", "after t-SNE")):
        for who, part in _parts(record).items():
            for layer in [part.best_layer[space]] if who else range(len(part.layers)):
                name = f"layer {part.layers[layer]}, null: {who}" if who else f"layer {_number(record, layer)}"
                cells = _scores(_at_layer(part, space, layer))
                rows.append({"of": "null: " + who if part is record.bag else name, "clustered": clustered, **cells})
    return rows


def _parts(record: Record) -> dict[str, LayerScores]:
    """The scores of the model, under an empty name, and of its negative controls by name."""
    untrained = {f"untrained, draw {number + 1}": part for number, part in enumerate(record.untrained)}
    return {"": record.model, **untrained, "bag of tokens": record.bag}


def _number(record: Record, layer: int) -> str:
    """A layer's number; for layer 0 with a note if it is not the embedding."""
    is_odd = layer == 0 and record.architecture.layer_0 != "embedding"
    return f"0 (after the {record.architecture.layer_0})" if is_odd else str(layer)


def _at_layer(part: LayerScores, space: str, layer: int) -> dict[str, tuple[float, ...]]:
    """F1, ARI and AMI at a layer, by label."""
    table = part.scores[space]
    return {label: tuple(float(table[label][metric][layer]) for metric in _METRICS) for label in table}


def _scores(
    cells: Mapping[str, tuple[float, ...]], spread: Mapping[str, tuple[float, float]] | None = None
) -> dict[str, str]:
    """F1 with its interval, ARI and AMI of each label as text; a dash if a label was not scored."""
    row = {}
    for label in LABELS:
        name = label.replace("_", "-")
        for metric, value in zip(("F1", "ARI", "AMI"), cells.get(label, (None,) * 3), strict=True):
            ends = (
                f" [{', '.join(map(number, spread[label]))}]" if metric == "F1" and spread and label in spread else ""
            )
            row[f"{name} {metric}"] = number(value) + ends
    return row
