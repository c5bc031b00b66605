"""The figure of what fine-tuning forgets (not in the paper)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from taskclust.drawing import Asked, about, finish, grid
from taskclust.experiments.alignment.record import History, Record

#: The sentence under each figure.
CAPTIONS = {
    "forgetting": "Accuracy on the source tasks and on the other tasks, epoch by epoch, for each way of fine-tuning.",
}


def figures(records: Sequence[Record], asked: Asked | None = None) -> dict[str, Figure]:  # noqa: ARG001 - none is drawn
    """The figures by file name; empty if no training succeeded."""
    whole = [record for record in records if not record.failure]
    return {"forgetting": forgetting(whole)} if whole else {}


def _history(record: Record, method: str) -> History:
    return record.methods[method].history or {}


def forgetting(records: Sequence[Record]) -> Figure:
    """Accuracy on the source and on other tasks during fine-tuning of all weights or of the head (not in the paper)."""
    figure, axes = grid(1, 2)
    for axis, name in zip(axes[0], ("direct", "head"), strict=True):
        for quantity, color in (("source", "tab:green"), ("others", "tab:red")):
            values = np.array([_history(record, name)[quantity] for record in records])
            axis.plot(values.mean(axis=0), color=color, label=f"{quantity}, unseen")
            axis.fill_between(
                range(values.shape[1]), values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, linewidth=0
            )
        for record in records:
            axis.axvline(record.methods[name].best_epoch, color="grey", linewidth=0.5, linestyle="--")
        axis.set(title=f"{name} fine-tuning", ylabel="accuracy", ylim=(-0.02, 1.02))
    return finish(figure, axes, f"Alignment, {about(records)}; dashed: selected epoch")
