"""The figures of the main experiment, drawn like the paper's, from records only.

A panel shows one label: its score over epochs, with one line per layer.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from taskclust.config import LABELS, SPLITS
from taskclust.drawing import (
    NAMES,
    Asked,
    about,
    color_and_marker,
    draw_layers,
    draw_marks,
    draw_top_layer,
    finish,
    grid,
    in_space,
    over_seeds,
)
from taskclust.experiments.synthetic.record import Record
from taskclust.experiments.synthetic.statistics import curve
from taskclust.probes.scores import Values

#: The sentence under each figure.
CAPTIONS = {
    "clusters-forming": "The top layer's embedding at four epochs, one color and shape per task: unseen instructions "
    "above, the training subset below, its hard examples larger.",
    "figure-2-f1": "F1 of k-means clusters by the paper's three identities over training, one line per layer: solid "
    "after t-SNE, dotted without; bands: range over seeds; dashed: the claim's bound and the bag-of-symbols baseline.",
    "figure-6-all-metrics": "F1, ARI and AMI of the same clusters: solid after t-SNE, dotted without.",
    "codes-taken-out": "F1 by task after the class means of input, output or distribution are ablated.",
    "merging": "F1 by task on unseen instructions, and how far clusters join a task's distributions, with the "
    "bag-of-symbols baseline.",
    "by-mapping": "F1 of one cluster per mapping, and how far clusters join a mapping's distributions, with two "
    "negative controls.",
    "figure-3-learning": "Training loss and accuracies, one line per seed; dashed: epoch of best validation accuracy.",
    "figure-4-neighbors": "Nearest training neighbors of unseen instances: how many have the same task, and how well "
    "they predict the output, one line per layer; dashed: the claim's bound and the bag-of-symbols baseline.",
    "components": "Shares of the top layer's variance between tasks, distributions, inputs and outputs.",
}


def figures(records: Sequence[Record], asked: Asked | None = None) -> dict[str, Figure]:
    """The figures by file name, with the bounds that claims require; empty if no training succeeded."""
    asked = asked or {}
    records = [record for record in records if not record.failure]
    if not records:
        return {}
    made = {
        "clusters-forming": forming(records[0]),
        "figure-2-f1": clusters(records, ("f1",), asked),
        "figure-6-all-metrics": clusters(records, ("f1", "ari", "ami"), asked),
    }
    if all(record.f1_without is not None for record in records):
        made["codes-taken-out"] = codes_taken_out(records)
    return {
        **made,
        "merging": merging(records),
        "by-mapping": by_mapping(records),
        "figure-3-learning": learning(records, asked),
        "figure-4-neighbors": neighbors(records, asked),
        "components": components(records),
    }


def _scores(split: str, space: str, label: str, metric: str) -> Callable[[Record], Values]:
    return lambda r: curve(r, split, label, metric, space)


def _component(split: str, name: str) -> Callable[[Record], Values]:
    return lambda r: r.components[split][name]


def _f1_without(split: str, name: str) -> Callable[[Record], Values]:
    return lambda r: (r.f1_without or {})[split][name]


def _embedding(record: Record, split: str) -> Values:
    points = record.scores[split].top_embedding
    assert points is not None  # only the baseline's scores lack it
    return points


def forming(record: Record, most: int = 4) -> Figure:
    """The top layer's embedding at up to ``most`` epochs, with one color per task (not in the paper).

    Hard examples are drawn larger.
    """
    epochs = record.epochs.tsne
    shown = np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))
    figure = Figure(figsize=(3.6 * len(shown), 3.4 * len(SPLITS) + 0.6), layout="constrained")
    axes = figure.subplots(len(SPLITS), len(shown), squeeze=False, subplot_kw={"projection": "3d"})
    for line, split in zip(axes, SPLITS, strict=True):
        tasks, hard = record.identities[split].task, record.identities[split].is_hard
        numbers = np.unique(tasks, return_inverse=True)[1]
        for axis, row in zip(line, shown, strict=True):
            points = in_space(_embedding(record, split)[row])
            for number in np.unique(numbers):
                color, marker = color_and_marker(number)
                for chosen, size in ((~hard & (numbers == number), 14), (hard & (numbers == number), 34)):
                    axis.scatter(*points[chosen].T, c=color, marker=marker, s=size, alpha=0.8)
            f1 = record.scores[split].tsne["task"]["f1"][row, -1]
            axis.set(title=f"{NAMES[split]}, epoch {epochs[row]}, F1 {f1:.2f}")
            axis.tick_params(labelbottom=False, labelleft=False, labelright=False)
    seed, width = record.config.seed, record.config.model.width
    figure.suptitle(
        f"Top layer after t-SNE, one color and shape per task, width {width}, seed {seed}; large: hard examples",
        fontsize=10,
    )
    return figure


def clusters(records: Sequence[Record], metrics: Sequence[str], asked: Asked | None = None) -> Figure:
    """Figures 2 and 6: clustering scores throughout training, solid lines after t-SNE, dotted lines without."""
    best = float(np.mean([record.best_epoch for record in records]))
    rows = [(split, metric) for split in ("subset", "validation") for metric in metrics]
    figure, axes = grid(len(rows), len(LABELS))
    for line, (split, metric) in zip(axes, rows, strict=True):
        for axis, label in zip(line, LABELS, strict=True):
            for space, style in (("tsne", "-"), ("raw", ":")):
                curves = over_seeds(records, space, _scores(split, space, label, metric))
                draw_layers(axis, *curves, style=style)
            bags = [r.bag_of_symbols[split].tsne[label] for r in records]
            has_bag = all(metric in bag for bag in bags)
            bag = ("bag of symbols", float(np.mean([b[metric][0] for b in bags]))) if has_bag else None
            where = ("cluster-emergence", split) if label == "task" else ("inner-structure", f"{split}-{label}")
            bound = (asked or {}).get((*where, f"late {metric}"))
            draw_marks(axis, asked=bound, control=bag, best=best)
            axis.set(title=NAMES[label], ylabel=f"{NAMES[metric]}, {NAMES[split]}", ylim=(-0.02, 1.02))
    return finish(figure, axes, f"Clustering, {about(records)}; solid: after t-SNE, dotted: without")


def learning(records: Sequence[Record], asked: Asked | None = None) -> Figure:
    """Figure 3: training loss and accuracies over epochs, one line per seed."""
    columns = {
        "loss": "Training loss (nats)",
        "subset_accuracy": "Accuracy, training subset",
        "validation_accuracy": "Accuracy, validation set",
        "hard_accuracy": "Accuracy, hard examples",
    }
    figure, axes = grid(1, len(columns))
    for axis, (column, title) in zip(axes[0], columns.items(), strict=True):
        for record in records:
            axis.plot(record.history[column], ".-", markersize=2, linewidth=0.8, alpha=0.8)
            axis.axvline(record.best_epoch, color="grey", linewidth=0.5, linestyle="--")
        axis.set(title=title, ylim=(0, None) if column == "loss" else (-0.02, 1.02))
    bound = (asked or {}).get(("plateau-then-rise", "validation", "highest accuracy"))
    draw_marks(axes[0, list(columns).index("validation_accuracy")], asked=bound)
    return finish(figure, axes, f"Learning curves, {about(records)}; dashed: best epoch", legend=bound is not None)


def neighbors(records: Sequence[Record], asked: Asked | None = None) -> Figure:
    """Figure 4: KNN percentage and accuracy of unseen instances among their nearest training neighbours."""
    figure, axes = grid(1, 2)
    reads: dict[str, Callable[[Record], Values]] = {
        "percentage": lambda r: r.knn.percentage,
        "accuracy": lambda r: r.knn.accuracy,
    }
    for axis, (quantity, read) in zip(axes[0], reads.items(), strict=True):
        draw_layers(axis, *over_seeds(records, "raw", read), style="-")
        bag = float(np.mean([getattr(r.bag_knn, quantity) for r in records]))
        bound = (asked or {}).get((f"knn-{quantity}", "validation", "late level"))
        draw_marks(axis, asked=bound, control=("bag of symbols", bag))
        axis.set(title=NAMES[quantity], ylim=(-0.02, 1.02))
    return finish(figure, axes, f"Nearest training neighbours of unseen instances, {about(records)}")


def merging(records: Sequence[Record]) -> Figure:
    """F1 by task on unseen instructions, and how far clusters join a task's distributions (not in the paper)."""
    figure, axes = grid(1, 2)
    f1 = over_seeds(records, "tsne", _scores("validation", "tsne", "task", "f1"))
    bag = [r.bag_of_symbols["validation"].tsne["task"]["f1"][0] for r in records]
    draw_top_layer(axes[0, 0], f1, {"bag of symbols": bag})
    axes[0, 0].set(title="F1 by task")
    merged = over_seeds(records, "tsne", lambda r: r.merging.states)
    draw_top_layer(axes[0, 1], merged, {"bag of symbols": [r.merging.bag for r in records]})
    axes[0, 1].set(title="Merging of a task's distributions")
    return finish(figure, axes, f"Merging, {about(records)}")


def by_mapping(records: Sequence[Record]) -> Figure:
    """F1 of one cluster per mapping, and how far clusters join a mapping's distributions (not in the paper)."""
    figure, axes = grid(len(SPLITS), 2)
    titles = {"f1": "F1 by mapping", "merging": "Merging of a mapping's distributions"}
    for line, split in zip(axes, SPLITS, strict=True):
        for axis, (score, title) in zip(line, titles.items(), strict=True):
            found = [r.by_mapping[split][score] for r in records]
            nulls = {"bag of symbols": [one.bag for one in found], "nothing merged": [one.unmerged for one in found]}
            draw_top_layer(axis, over_seeds(records, "tsne", _by_mapping(split, score)), nulls)
            axis.set(title=title, ylabel=NAMES[split])
    return finish(figure, axes, f"Clusters by mapping, {about(records)}")


def _by_mapping(split: str, score: str) -> Callable[[Record], Values]:
    return lambda r: r.by_mapping[split][score].states


def components(records: Sequence[Record]) -> Figure:
    """Variance components of the top layer's states throughout training (not in the paper)."""
    splits = [split for split in SPLITS if all(split in r.components for r in records)]
    figure, axes = grid(1, len(splits))
    for axis, split in zip(axes[0], splits, strict=True):
        for name in records[0].components[split]:
            epochs, mean, low, high = over_seeds(records, "raw", _component(split, name))
            axis.plot(epochs, mean[:, -1], label=name)
            axis.fill_between(epochs, low[:, -1], high[:, -1], alpha=0.15, linewidth=0)
        axis.set(title=f"Top layer, {NAMES[split]}", ylabel="share of variance")
    return finish(figure, axes, f"Variance components, {about(records)}")


def codes_taken_out(records: Sequence[Record]) -> Figure:
    """F1 by task of k-means on the top layer with class means ablated (not in the paper).

    The class means are fitted on the training set.
    """
    figure, axes = grid(1, len(SPLITS))
    for axis, split in zip(axes[0], SPLITS, strict=True):
        for name in (records[0].f1_without or {})[split]:
            epochs, mean, low, high = over_seeds(records, "raw", _f1_without(split, name))
            axis.plot(epochs, mean, label="unchanged" if name == "nothing" else f"without {name}")
            axis.fill_between(epochs, low, high, alpha=0.12, linewidth=0)
        axis.set(title=f"Top layer, {NAMES[split]}", ylabel="F1 by task, k-means", ylim=(-0.02, 1.02))
    return finish(figure, axes, f"Class means ablated, {about(records)}")
