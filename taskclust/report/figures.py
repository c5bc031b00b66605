"""Figures in the form of the paper's: score against epoch, one line a layer, one panel a label. Reads records only."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskclust.config import ARMS, LABELS, SPLITS
from taskclust.report.tables import ARM_NAMES

Record = dict[str, Any]

_NAMES = {
    "task": "Task identity",
    "distribution": "Distribution identity",
    "distribution_mapping": "Distribution-mapping identity",
    "f1": "F1",
    "ari": "ARI",
    "ami": "AMI",
    "validation": "validation set",
    "subset": "training subset",
    "percentage": "KNN percentage",
    "accuracy": "KNN accuracy",
    **ARM_NAMES,
}


def figures(records: Sequence[Record]) -> dict[str, Figure]:
    """All figures of one profile by file name; empty without records."""
    records = [r for r in records if not r["failure"]]
    if not records:
        return {}
    made = {
        "clusters-forming": forming(records[0]),
        "figure-2-f1": clusters(records, ("f1",)),
        "figure-6-all-metrics": clusters(records, ("f1", "ari", "ami")),
    }
    if all("f1_without" in r for r in records):  # not in records of before it was measured
        made["codes-taken-out"] = codes_taken_out(records)
    return {
        **made,
        "merging": merging(records),
        "by-mapping": by_mapping(records),
        "figure-3-learning": learning(records),
        "figure-4-neighbors": neighbors(records),
        "components": components(records),
    }


def application_figures(pretraining: Sequence[Record], alignment: Sequence[Record]) -> dict[str, Figure]:
    """Figures 5a and 5b, and what fine-tuning forgets; only those that there are records for."""
    pretraining, alignment = ([r for r in records if not r["failure"]] for records in (pretraining, alignment))
    made = {}
    if pretraining:
        made["figure-5a-pretraining-clusters"] = pretraining_clusters(pretraining)
        made["figure-5b-pretraining-speedup"] = speedup(pretraining)
    if alignment:
        made["forgetting"] = forgetting(alignment)
    return made


def pretraining_clusters(records: Sequence[Record]) -> Figure:
    """Figure 5a: clustering by task identity while identities are learned; solid after t-SNE, dotted without."""
    figure, axes = _grid(len(SPLITS), 3)
    for line, split in zip(axes, SPLITS, strict=True):
        for axis, metric in zip(line, ("f1", "ari", "ami"), strict=True):
            for space, style in (("tsne", "-"), ("raw", ":")):
                _layers(axis, *_over_seeds(records, space, ("scores", split, space, "task", metric)), style=style)
            axis.set(title=_NAMES[metric], ylabel=_NAMES[split], ylim=(-0.02, 1.02))
    return _finish(figure, axes, f"Identity pre-training, {_seeds(records)}; solid: after t-SNE, dotted: without")


def speedup(records: Sequence[Record]) -> Figure:
    """Figure 5b: validation accuracy during tuning, one line an arm; the band is the range over seeds."""
    figure, axes = _grid(1, 1)
    for arm in ARMS:
        values = np.array([[row["validation_accuracy"] for row in r["tuning"][arm]["history"]] for r in records])
        style = ":" if arm == "shuffled" else "-"
        axes[0, 0].plot(values.mean(axis=0), style, marker=".", markersize=3, label=_NAMES[arm])
        axes[0, 0].fill_between(range(values.shape[1]), values.min(axis=0), values.max(axis=0), alpha=0.12, linewidth=0)
    axes[0, 0].set(ylabel="accuracy, validation set", ylim=(-0.02, 1.02))
    return _finish(figure, axes, f"Tuning after pre-training\n{_seeds(records)}")


def forgetting(records: Sequence[Record]) -> Figure:
    """Accuracy on source and other tasks while all weights, or the head's, are fine-tuned (not in the paper)."""
    figure, axes = _grid(1, 2)
    for axis, name in zip(axes[0], ("direct", "head"), strict=True):
        for quantity, color in (("source", "tab:green"), ("others", "tab:red")):
            values = np.array([[row[quantity] for row in r["methods"][name]["history"]] for r in records])
            axis.plot(values.mean(axis=0), color=color, label=f"{quantity}, unseen")
            axis.fill_between(
                range(values.shape[1]), values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, linewidth=0
            )
        for record in records:
            axis.axvline(record["methods"][name]["best_epoch"], color="grey", linewidth=0.5, linestyle="--")
        axis.set(title=f"{name} fine-tuning", ylabel="accuracy", ylim=(-0.02, 1.02))
    return _finish(figure, axes, f"Alignment, {_seeds(records)}; dashed: selected epoch")


def language_figures(records: Sequence[Record]) -> dict[str, Figure]:
    """Of each language model: the scores over layers, and the picture of its best layer."""
    made = {}
    for record in records:
        made[f"layers-{record['name']}"] = over_layers(record)
        made[f"clusters-{record['name']}"] = picture(record)
    return made


def over_layers(record: Record) -> Figure:
    """F1, ARI and AMI over layers by each identity; solid after t-SNE, dotted without, dashed the nulls' F1."""
    table, twin = record["model"]["scores"], record["nulls"]["twin"]
    figure, axes = _grid(1, len(table["raw"]))
    for axis, label in zip(axes[0], table["raw"], strict=True):
        for metric, color in (("f1", "tab:blue"), ("ari", "tab:green"), ("ami", "tab:orange")):
            axis.plot(table["tsne"][label][metric], color=color, label=_NAMES[metric])
            axis.plot(table["raw"][label][metric], ":", color=color)
        axis.plot(twin["layers"], twin["scores"]["tsne"][label]["f1"], "--", color="grey", label="F1, random twin")
        bag = record["nulls"]["bag"]["scores"]["tsne"][label]["f1"][0]
        axis.axhline(bag, color="black", linestyle="--", linewidth=0.8, label="F1, bag of tokens")
        axis.set(title=_NAMES[label], ylim=(-0.02, 1.02))
    title = f"{record['name']}, {record['prompts']:,} prompts; solid: after t-SNE, dotted: without"
    return _finish(figure, axes, title, x="layer")


def picture(record: Record) -> Figure:
    """The best layer after t-SNE, colored by category and by task."""
    points, layer = np.array(record["model"]["embedding"]), record["model"]["best_layer"]["tsne"]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, 2, subplot_kw={"projection": "3d"})
    for axis, (label, title) in zip(axes, (("task", "category"), ("distribution", "task")), strict=True):
        of = np.array(record["identities"][label])
        for number, color in zip(np.unique(of), colormaps["tab20"](np.linspace(0, 1, of.max() + 1)), strict=True):
            name = record["names"][label][number]
            axis.scatter(*points[of == number].T, color=color, s=3, alpha=0.5, label=name)
        axis.set_title(f"by {title}")
        axis.tick_params(labelbottom=False, labelleft=False, labelright=False)
        axis.legend(fontsize=6, markerscale=3, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{record['name']}, layer {layer} after t-SNE", fontsize=10)
    return figure


def forming(record: Record, most: int = 4) -> Figure:
    """The top layer's embedding at a few epochs, one color a task, hard examples as crosses (not in the paper)."""
    epochs = record["epochs"]["tsne"]
    shown = np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))
    figure = Figure(figsize=(3.6 * len(shown), 3.4 * len(SPLITS) + 0.6), layout="constrained")
    axes = figure.subplots(len(SPLITS), len(shown), squeeze=False, subplot_kw={"projection": "3d"})
    for line, split in zip(axes, SPLITS, strict=True):
        tasks, hard = (np.array(record["identities"][split][name]) for name in ("task", "is_hard"))
        colors = colormaps["tab20"](np.unique(tasks, return_inverse=True)[1] % 20)
        for axis, row in zip(line, shown, strict=True):
            points = np.array(record["scores"][split]["top_embedding"][row])
            for chosen, marker in ((~hard, "o"), (hard, "x")):
                axis.scatter(*points[chosen].T, c=colors[chosen], marker=marker, s=14, alpha=0.8)
            f1 = record["scores"][split]["tsne"]["task"]["f1"][row][-1]
            axis.set(title=f"{_NAMES[split]}, epoch {epochs[row]}, F1 {f1:.2f}")
            axis.tick_params(labelbottom=False, labelleft=False, labelright=False)
    seed, width = record["config"]["seed"], record["config"]["model"]["width"]
    figure.suptitle(
        f"Top layer after t-SNE, one color a task, width {width}, seed {seed}; x: hard examples", fontsize=10
    )
    return figure


def clusters(records: Sequence[Record], metrics: Sequence[str]) -> Figure:
    """Figures 2 and 6: clustering scores throughout training; solid after t-SNE, dotted without."""
    rows = [(split, metric) for split in ("subset", "validation") for metric in metrics]
    figure, axes = _grid(len(rows), len(LABELS))
    for line, (split, metric) in zip(axes, rows, strict=True):
        for axis, label in zip(line, LABELS, strict=True):
            for space, style in (("tsne", "-"), ("raw", ":")):
                curves = _over_seeds(records, space, ("scores", split, space, label, metric))
                _layers(axis, *curves, style=style)
            axis.set(title=_NAMES[label], ylabel=f"{_NAMES[metric]}, {_NAMES[split]}", ylim=(-0.02, 1.02))
    return _finish(figure, axes, f"Clustering, {_seeds(records)}; solid: after t-SNE, dotted: without")


def learning(records: Sequence[Record]) -> Figure:
    """Figure 3: training loss and accuracies, one line a seed."""
    columns = {
        "loss": "Training loss (nats)",
        "subset_accuracy": "Accuracy, training subset",
        "validation_accuracy": "Accuracy, validation set",
        "hard_accuracy": "Accuracy, hard examples",
    }
    figure, axes = _grid(1, len(columns))
    for axis, (column, title) in zip(axes[0], columns.items(), strict=True):
        for record in records:
            values = [np.nan if row[column] is None else row[column] for row in record["history"]]
            axis.plot(values, ".-", markersize=2, linewidth=0.8, alpha=0.8)
            axis.axvline(record["best_epoch"], color="grey", linewidth=0.5, linestyle="--")
        axis.set(title=title, ylim=(0, None) if column == "loss" else (-0.02, 1.02))
    return _finish(figure, axes, f"Learning curves, {_seeds(records)}; dashed: best epoch", legend=False)


def neighbors(records: Sequence[Record]) -> Figure:
    """Figure 4: nearest training neighbours of unseen instances."""
    figure, axes = _grid(1, 2)
    for axis, quantity in zip(axes[0], ("percentage", "accuracy"), strict=True):
        _layers(axis, *_over_seeds(records, "raw", ("knn", quantity)), style="-")
        axis.set(title=_NAMES[quantity], ylim=(-0.02, 1.02))
    return _finish(figure, axes, f"Nearest training neighbours of unseen instances, {_seeds(records)}")


def merging(records: Sequence[Record]) -> Figure:
    """F1 by task of unseen instructions beside how far clusters join a task's distributions (not in the paper)."""
    bags = {
        "F1 by task": [r["bag_of_symbols"]["validation"]["tsne"]["task"]["f1"][0] for r in records],
        "Merging of a task's distributions": [r["merging"]["bag"] for r in records],
    }
    paths: tuple[tuple[str, ...], ...] = (("scores", "validation", "tsne", "task", "f1"), ("merging", "states"))
    figure, axes = _grid(1, len(bags))
    for axis, path, (title, bag) in zip(axes[0], paths, bags.items(), strict=True):
        _top_layer(axis, records, path, {"bag of symbols": bag})
        axis.set(title=title)
    return _finish(figure, axes, f"Merging, {_seeds(records)}")


def by_mapping(records: Sequence[Record]) -> Figure:
    """Clusters as many as mappings: their F1, and how far they join a mapping's distributions (not in the paper)."""
    figure, axes = _grid(len(SPLITS), 2)
    titles = {"f1": "F1 by mapping", "merging": "Merging of a mapping's distributions"}
    for line, split in zip(axes, SPLITS, strict=True):
        for axis, (score, title) in zip(line, titles.items(), strict=True):
            nulls = {
                "bag of symbols": [r["by_mapping"][split][score]["bag"] for r in records],
                "nothing merged": [r["by_mapping"][split][score]["unmerged"] for r in records],
            }
            _top_layer(axis, records, ("by_mapping", split, score, "states"), nulls)
            axis.set(title=title, ylabel=_NAMES[split])
    return _finish(figure, axes, f"Clusters by mapping, {_seeds(records)}")


def _top_layer(
    axis: Axes, records: Sequence[Record], path: tuple[str, ...], nulls: Mapping[str, Sequence[float | None]]
) -> None:
    """The top layer's curve after t-SNE, mean and range over seeds, and the mean of each null."""
    epochs, *curves = _over_seeds(records, "tsne", path)
    mean, low, high = (curve[:, -1] if curve.ndim == 2 else curve for curve in curves)
    axis.plot(epochs, mean, marker=".", label="top layer")
    axis.fill_between(epochs, low, high, alpha=0.15, linewidth=0)
    for name, values in nulls.items():
        style = "--" if name == "bag of symbols" else ":"
        axis.axhline(np.mean(np.array(values, dtype=float)), color="grey", linestyle=style, label=name)
    axis.set_ylim(-0.1, 1.02)


def components(records: Sequence[Record]) -> Figure:
    """What the top layer's states are made of, throughout training (not in the paper)."""
    splits = [split for split in SPLITS if all(split in r["components"] for r in records)]
    figure, axes = _grid(1, len(splits))
    for axis, split in zip(axes[0], splits, strict=True):
        for name in records[0]["components"][split]:
            epochs, mean, low, high = _over_seeds(records, "raw", ("components", split, name))
            axis.plot(epochs, mean[:, -1], label=name)
            axis.fill_between(epochs, low[:, -1], high[:, -1], alpha=0.15, linewidth=0)
        axis.set(title=f"Top layer, {_NAMES[split]}", ylabel="share of variance")
    return _finish(figure, axes, f"Variance components, {_seeds(records)}")


def codes_taken_out(records: Sequence[Record]) -> Figure:
    """F1 by task of k-means on the top layer once codes fitted on the training set are taken out (not in the paper)."""
    figure, axes = _grid(1, len(SPLITS))
    for axis, split in zip(axes[0], SPLITS, strict=True):
        for name in records[0]["f1_without"][split]:
            epochs, mean, low, high = _over_seeds(records, "raw", ("f1_without", split, name))
            axis.plot(epochs, mean, label="as it is" if name == "nothing" else f"without {name}")
            axis.fill_between(epochs, low, high, alpha=0.12, linewidth=0)
        axis.set(title=f"Top layer, {_NAMES[split]}", ylabel="F1 by task, k-means", ylim=(-0.02, 1.02))
    return _finish(figure, axes, f"Codes taken out, {_seeds(records)}")


Curves = tuple[list[int], np.ndarray, np.ndarray, np.ndarray]


def _over_seeds(records: Sequence[Record], space: str, path: tuple[str, ...]) -> Curves:
    """Mean, lowest and highest over seeds of what stands at ``path``, at the epochs that all records have."""
    common = sorted(set.intersection(*(set(r["epochs"][space]) for r in records)))
    found = [(reduce(getitem, path, r), r["epochs"][space]) for r in records]
    values = np.array([[curve[epochs.index(e)] for e in common] for curve, epochs in found], dtype=float)
    return common, values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def _layers(axis: Axes, epochs: list[int], mean: np.ndarray, low: np.ndarray, high: np.ndarray, *, style: str) -> None:
    """One line a layer; the band is the range over seeds."""
    for layer, color in enumerate(colormaps["viridis"](np.linspace(0, 0.95, mean.shape[1]))):
        label = f"layer {layer}" if style == "-" else None
        axis.plot(epochs, mean[:, layer], style, color=color, label=label, linewidth=1.2, marker=".", markersize=4)
        if style == "-":
            axis.fill_between(epochs, low[:, layer], high[:, layer], color=color, alpha=0.1, linewidth=0)


def _seeds(records: Sequence[Record]) -> str:
    config = records[0]["config"]
    n = len(records)
    return f"width {config['model']['width']}, {n} seed{'s' * (n > 1)}, mean and range"


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _finish(figure: Figure, axes: np.ndarray, title: str, *, legend: bool = True, x: str = "epoch") -> Figure:
    for axis in axes.flat:
        axis.set_xlabel(x)
        axis.grid(alpha=0.2)
    if legend:
        axes.flat[-1].legend(fontsize=6, loc="best")
    figure.suptitle(title, fontsize=10)
    return figure
