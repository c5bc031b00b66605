"""Animations of clusters forming: the top layer's embedding in three dimensions, checkpoint after checkpoint.

They show the first seed. Each epoch has its own t-SNE, which may be rotated and mirrored relative to the one before. It
is rotated back and scaled to one size, so that points move instead of jumping.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.linalg import orthogonal_procrustes

from taskclust.config import SPLITS
from taskclust.data import Split, generate
from taskclust.data.table import instance_rows
from taskclust.drawing import NAMES, color_and_marker, in_space
from taskclust.experiments.synthetic.record import Record
from taskclust.probes.scores import Values

#: The labels that points can be colored by, and their names on the page.
COLORS = {"task": "task", "distribution": "distribution", "mapping": "mapping", "is_hard": "hard or original"}
_MARKERS = {"o": "circle", "s": "square", "D": "diamond", "x": "x", "+": "cross"}

#: The initial camera position, in edges of the scene's cube.
_EYE = {"x": 0.95, "y": 0.95, "z": 0.6}

Points = Float[np.ndarray, "epoch N 3"]


def scenes(records: Sequence[Record]) -> dict[str, go.Figure]:
    """Animations of the first successful training by the sentence under them: over epochs, then over layers."""
    record = next((record for record in records if not record.failure), None)
    if record is None or any(record.scores[split].top_embedding is None for split in SPLITS):
        return {}
    dataset = generate(record.config.data, record.config.seed)
    if not all(_can_be_shown(record, split, dataset.splits[split]) for split in SPLITS):
        return {}
    rows = {split: [row for row in instance_rows(dataset) if row["split"] == split] for split in SPLITS}
    seed, found = record.config.seed, {}
    for split in SPLITS:
        points, f1 = record.scores[split].top_embedding, record.scores[split].tsne["task"]["f1"]
        assert points is not None, "checked above"
        sentence = (
            f"Top layer of seed {seed} after t-SNE, {NAMES[split]}: one point per instance. Play, or move the slider, "
            "to see clusters form; drag to rotate; choose what the colors show; hover to read an instance."
        )
        found[sentence] = _scene(points, "epoch", record.epochs.tsne, f1[:, -1], dataset.splits[split], rows[split])
        if record.layers_at_end:
            points, end = record.layers_at_end[split], record.epochs.tsne[-1]
            sentence = (
                f"The same instances, {NAMES[split]}, layer by layer at epoch {end}, from the embedding (0) to the top."
            )
            layers = range(len(points))
            found[sentence] = _scene(points, "layer", layers, f1[-1], dataset.splits[split], rows[split])
    return found


def _can_be_shown(record: Record, split: str, data: Split) -> bool:
    """Whether points are finite and have at most three dimensions, and the generated data are the record's.

    A record keeps the tasks and hard examples of its data; if the generator had changed, they would most likely differ.
    """
    points, kept = record.scores[split].top_embedding, record.identities[split]
    assert points is not None, "checked by the caller"
    is_same = np.array_equal(data.labels("task"), kept.task) and np.array_equal(data.labels("is_hard"), kept.is_hard)
    return is_same and points.shape[-1] <= 3 and bool(np.isfinite(points).all())


def turned(points: Points) -> Points:
    """Each epoch's points, centered, scaled to mean square radius 1, and rotated onto those of the epoch before."""
    found = points - points.mean(axis=1, keepdims=True)
    radius = np.sqrt(np.square(found).sum(axis=2).mean(axis=1))[:, None, None]
    found /= np.where(radius > 0, radius, 1)  # all points of an epoch may coincide
    for epoch in range(1, len(found)):
        found[epoch] @= orthogonal_procrustes(found[epoch], found[epoch - 1])[0]
    return found


def _scene(
    points: Points, name: str, numbers: Sequence[int], f1: Values, data: Split, rows: Sequence[dict[str, object]]
) -> go.Figure:
    """An animation over epochs or layers (``name``) with the F1 by task of each."""
    moving = turned(in_space(points)).astype(np.float32)
    titles = [f"{name} {number}: F1 by task {value:.2f}" for number, value in zip(numbers, f1, strict=True)]
    markers = {label: _marker(data.labels(label)) for label in COLORS}
    text = [
        f"{row['instruction']} · {row['input']} → {row['output']}<br>task {row['task']}, distribution "
        f"{row['distribution']}{', hard' if row['is_hard'] else ''}<br>{row['pattern']}"
        for row in rows
    ]
    last = len(moving) - 1

    def cloud(epoch: int, **more: object) -> go.Scatter3d:
        x, y, z = moving[epoch].T
        return go.Scatter3d(x=x, y=y, z=z, mode="markers", **more)

    figure = go.Figure(
        cloud(last, marker=markers["task"], text=text, hovertemplate="%{text}<extra></extra>"),
        frames=[
            go.Frame(data=[cloud(n)], name=str(n), layout={"title": {"text": title}}) for n, title in enumerate(titles)
        ],
    )
    edge = float(np.abs(moving).max())
    axis = {"range": [-edge, edge], "visible": False}
    figure.update_layout(
        title={"text": titles[last]},
        height=560,
        margin={"l": 0, "r": 0, "t": 48, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        font={"color": "#888"},
        scene={"xaxis": axis, "yaxis": axis, "zaxis": axis, "aspectmode": "cube", "camera": {"eye": _EYE}},
        sliders=[{"active": last, "currentvalue": {"prefix": f"{name} "}, "steps": _steps(numbers)}],
        updatemenus=[_play(), _choices(markers)],
    )
    return figure


def _marker(labels: np.ndarray) -> dict[str, object]:
    """A color and a shape for each identity, also for the colorblind; they repeat if there are too many identities."""
    looks = [color_and_marker(number) for number in np.unique(labels, return_inverse=True)[1]]
    return {
        "color": [color for color, _ in looks],
        "symbol": [_MARKERS[marker] for _, marker in looks],
        "size": 4,
        "opacity": 0.85,
    }


def _steps(numbers: Sequence[int]) -> list[dict[str, object]]:
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    return [{"label": str(e), "method": "animate", "args": [[str(n)], at_once]} for n, e in enumerate(numbers)]


def _play() -> dict[str, object]:
    slowly = {"frame": {"duration": 700, "redraw": True}, "transition": {"duration": 0}}
    stop = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    return {
        "type": "buttons",
        "direction": "left",
        "x": 0,
        "y": 1.0,
        "xanchor": "left",
        "buttons": [
            {"label": "▶ play", "method": "animate", "args": [None, {**slowly, "mode": "immediate"}]},
            {"label": "❚❚ pause", "method": "animate", "args": [[None], stop]},
        ],
    }


def _choices(markers: dict[str, dict[str, object]]) -> dict[str, object]:
    return {
        "x": 1,
        "y": 1.0,
        "xanchor": "right",
        "buttons": [
            {
                "label": f"color: {COLORS[label]}",
                "method": "restyle",
                "args": [{"marker.color": [marker["color"]], "marker.symbol": [marker["symbol"]]}],
            }
            for label, marker in markers.items()
        ],
    }
