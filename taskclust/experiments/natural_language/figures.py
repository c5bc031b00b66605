"""The figures of each language model: its scores over layers, and the embedding of its best layer."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from taskclust.drawing import NAMES, Asked, finish, grid, in_space
from taskclust.experiments.natural_language.record import Record

#: The sentence under each figure.
CAPTIONS = {
    "language-layers-*": "F1, ARI and AMI over layers, solid after t-SNE and dotted without; grey: the range of "
    "untrained models; dashed black: the counts of the prompts' tokens.",
    "language-clusters-*": "The best layer's states after t-SNE, colored by category and by task.",
}


def figures(records: Sequence[Record], asked: Asked | None = None) -> dict[str, Figure]:  # noqa: ARG001 - none is drawn
    """The figures by file name, two per model; empty without records."""
    made = {}
    for record in records:
        made[f"language-layers-{record.name}"] = over_layers(record)
        made[f"language-clusters-{record.name}"] = picture(record)
    return made


def over_layers(record: Record) -> Figure:
    """F1, ARI and AMI over layers, one panel per identity.

    Lines are solid after t-SNE and dotted without. Dashed lines are the F1 of the negative controls after t-SNE; the
    band is the range of the untrained models.
    """
    table = record.model.scores
    figure, axes = grid(1, len(table["raw"]))
    for axis, label in zip(axes[0], table["raw"], strict=True):
        for metric, color in (("f1", "tab:blue"), ("ari", "tab:green"), ("ami", "tab:orange")):
            axis.plot(table["tsne"][label][metric], color=color, label=NAMES[metric])
            axis.plot(table["raw"][label][metric], ":", color=color)
        drawn, layers = [part.scores["tsne"][label]["f1"] for part in record.untrained], record.untrained[0].layers
        axis.fill_between(layers, np.min(drawn, axis=0), np.max(drawn, axis=0), color="grey", alpha=0.25, linewidth=0)
        axis.plot(layers, np.mean(drawn, axis=0), "--", color="grey", label="F1, untrained")
        bag = record.bag.scores["tsne"][label]["f1"][0]
        axis.axhline(bag, color="black", linestyle="--", linewidth=0.8, label="F1, bag of tokens")
        axis.set(title=NAMES[label], ylim=(-0.02, 1.02))
    title = f"{record.name}, {record.prompts:,} prompts; solid: after t-SNE, dotted: without"
    return finish(figure, axes, title, x="layer")


def picture(record: Record) -> Figure:
    """The embedding of the best layer after t-SNE, colored by category and by task."""
    points, layer = record.model.embedding, record.model.best_layer["tsne"]
    assert points is not None  # only negative controls lack it
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, 2, subplot_kw={"projection": "3d"})
    for axis, (label, title) in zip(axes, (("task", "category"), ("distribution", "task")), strict=True):
        of = record.identities[label]
        for number, color in zip(np.unique(of), colormaps["tab20"](np.linspace(0, 1, of.max() + 1)), strict=True):
            name = record.names[label][number]
            name = f" {name}" if name.startswith("_") else name  # a legend leaves out names that begin with _
            axis.scatter(*in_space(points)[of == number].T, color=color, s=3, alpha=0.5, label=name)
        axis.set_title(f"by {title}")
        axis.tick_params(labelbottom=False, labelleft=False, labelright=False)
        axis.legend(fontsize=6, markerscale=3, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{record.name}, layer {layer} after t-SNE", fontsize=10)
    return figure
