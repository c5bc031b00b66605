"""The figures of the pre-training experiment: Figures 5a and 5b."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from taskclust.config import ARMS, SPLITS
from taskclust.drawing import NAMES, Asked, about, draw_layers, draw_marks, finish, grid, over_seeds
from taskclust.experiments.pretraining.record import Record
from taskclust.experiments.pretraining.statistics import tuning
from taskclust.experiments.pretraining.tables import ARM_NAMES
from taskclust.probes.scores import Values

#: The sentence under each figure.
CAPTIONS = {
    "figure-5a-*": "Clusters by task of the trigger's states during identity pre-training, one line per layer: solid "
    "after t-SNE, dotted without.",
    "figure-5b-*": "Validation accuracy while tuning, after pre-training on identities, on instructions, on shuffled "
    "identities, or on nothing; bands are the range over seeds.",
}


def figures(records: Sequence[Record], asked: Asked | None = None) -> dict[str, Figure]:
    """The figures by file name; empty if no training succeeded."""
    whole = [record for record in records if not record.failure]
    if not whole:
        return {}
    return {
        "figure-5a-pretraining-clusters": pretraining_clusters(whole, asked),
        "figure-5b-pretraining-speedup": speedup(whole),
    }


def _scores(split: str, space: str, metric: str) -> Callable[[Record], Values]:
    return lambda r: (r.scores[split].tsne if space == "tsne" else r.scores[split].raw)["task"][metric]


def pretraining_clusters(records: Sequence[Record], asked: Asked | None = None) -> Figure:
    """Figure 5a: clustering by task during identity pre-training, solid lines after t-SNE, dotted lines without."""
    figure, axes = grid(len(SPLITS), 3)
    for line, split in zip(axes, SPLITS, strict=True):
        for axis, metric in zip(line, ("f1", "ari", "ami"), strict=True):
            for space, style in (("tsne", "-"), ("raw", ":")):
                draw_layers(axis, *over_seeds(records, space, _scores(split, space, metric)), style=style)
            draw_marks(axis, asked=(asked or {}).get(("pretraining-clusters", split, f"late {metric}")))
            axis.set(title=NAMES[metric], ylabel=NAMES[split], ylim=(-0.02, 1.02))
    return finish(figure, axes, f"Identity pre-training, {about(records)}; solid: after t-SNE, dotted: without")


def speedup(records: Sequence[Record]) -> Figure:
    """Figure 5b: validation accuracy during tuning, one line per arm, with a band for the range over seeds."""
    figure, axes = grid(1, 1)
    for arm in ARMS:
        values = np.array([tuning(record, arm) for record in records])
        style = ":" if arm == "shuffled" else "-"
        axes[0, 0].plot(values.mean(axis=0), style, marker=".", markersize=3, label=ARM_NAMES[arm])
        axes[0, 0].fill_between(range(values.shape[1]), values.min(axis=0), values.max(axis=0), alpha=0.12, linewidth=0)
    axes[0, 0].set(ylabel="accuracy, validation set", ylim=(-0.02, 1.02))
    return finish(figure, axes, f"Tuning after pre-training\n{about(records)}")
