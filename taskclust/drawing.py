"""Shared parts of figures: curves of a score over epochs, one line per layer, with a band for the range over seeds."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from taskclust.probes.scores import Epochs, Values

#: The names shown in figures.
NAMES = {
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
}

#: Colors that the colorblind can distinguish (Okabe and Ito 2008), and markers for when the colors repeat.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#777777")
MARKERS = ("o", "s", "D", "x", "+")

#: The bounds that claims require, for figures, by claim, condition and check.
Asked = Mapping[tuple[str, str, str], float]

#: Epochs, then the mean, lowest and highest value over seeds at each.
Curves = tuple[list[int], Values, Values, Values]


def png(figure: Figure) -> bytes:
    """The figure as a PNG image of at most 256 colors: a third of the size, with no visible difference."""
    drawn = io.BytesIO()
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # dollar signs in names are not formulas
    figure.savefig(drawn, format="png", dpi=90)
    small = io.BytesIO()
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def in_space(points: Float[np.ndarray, "... D"]) -> Float[np.ndarray, "... 3"]:
    """Three coordinates of points of any dimension: the first three, or zeros for those that are missing."""
    shown = points[..., :3]
    return np.pad(shown, [*[(0, 0)] * (points.ndim - 1), (0, 3 - shown.shape[-1])])


def color_and_marker(number: int) -> tuple[str, str]:
    """The color and marker of an identity; forty pairs differ, then they repeat."""
    return OKABE_ITO[number % len(OKABE_ITO)], MARKERS[number // len(OKABE_ITO) % len(MARKERS)]


def over_seeds(records: Sequence[Any], space: str, read: Callable[[Any], Values]) -> Curves:
    """The mean, lowest and highest value over seeds, at the epochs that all records have.

    Args:
        records: records with ``epochs``.
        space: whose epochs to use, "raw" or "tsne".
        read: gives the values of a record; the first axis is epochs.
    """
    epochs = [_epochs(record).of(space) for record in records]
    common = sorted(set.intersection(*map(set, epochs)))
    rows = [
        np.asarray(read(record), dtype=float)[[of.index(epoch) for epoch in common]]
        for record, of in zip(records, epochs, strict=True)
    ]
    values = np.stack(rows)
    return common, values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def _epochs(record: Any) -> Epochs:
    return record.epochs


def draw_layers(
    axis: Axes,
    epochs: list[int],
    mean: Float[np.ndarray, "epoch layer"],
    low: Float[np.ndarray, "epoch layer"],
    high: Float[np.ndarray, "epoch layer"],
    *,
    style: str,
) -> None:
    """Draw one line per layer, with the range over seeds as a band if ``style`` is solid ("-")."""
    for layer, color in enumerate(colormaps["viridis"](np.linspace(0, 0.95, mean.shape[1]))):
        label = f"layer {layer}" if style == "-" else None
        axis.plot(epochs, mean[:, layer], style, color=color, label=label, linewidth=1.2, marker=".", markersize=4)
        if style == "-":
            axis.fill_between(epochs, low[:, layer], high[:, layer], color=color, alpha=0.1, linewidth=0)


def draw_top_layer(axis: Axes, curves: Curves, nulls: Mapping[str, Sequence[float | Values]]) -> None:
    """Draw the top layer's mean and range over seeds, and the mean of each negative control as a horizontal line."""
    epochs, *found = curves
    mean, low, high = (curve[:, -1] if curve.ndim == 2 else curve for curve in found)
    axis.plot(epochs, mean, marker=".", label="top layer")
    axis.fill_between(epochs, low, high, alpha=0.15, linewidth=0)
    for name, values in nulls.items():
        style = "--" if name == "bag of symbols" else ":"
        axis.axhline(np.mean(np.array(values, dtype=float)), color="grey", linestyle=style, label=name)
    axis.set_ylim(-0.1, 1.02)


def draw_marks(
    axis: Axes, *, asked: float | None = None, control: tuple[str, float] | None = None, best: float | None = None
) -> None:
    """Draw a claim's bound and a negative control as horizontal lines, and the best epoch as a vertical line."""
    if asked is not None:
        axis.axhline(asked, color="#D55E00", linestyle="--", linewidth=1, label="asked")
    if control is not None:
        axis.axhline(control[1], color="grey", linestyle="--", linewidth=1, label=control[0])
    if best is not None:
        axis.axvline(best, color="grey", linestyle=":", linewidth=1, label="best epoch, mean")


def about(records: Sequence[Any]) -> str:
    """The models' width and the number of seeds, as text for a title."""
    n = len(records)
    return f"width {records[0].config.model.width}, {n} seed{'s' * (n > 1)}, mean and range"


def grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """A figure with ``rows`` x ``columns`` panels, and its axes."""
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def finish(figure: Figure, axes: np.ndarray, title: str, *, legend: bool = True, x: str = "epoch") -> Figure:
    """The same figure with axis labels, grid, legend and title added."""
    for axis in axes.flat:
        axis.set_xlabel(x)
        axis.grid(alpha=0.2)
    if legend:  # each name once, below the panels, where it covers no line
        found = {
            name: handle for axis in axes.flat for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        columns = max(1, min(len(found), 4 * axes.shape[1]))
        figure.legend(found.values(), found, loc="outside lower center", ncols=columns, fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure
