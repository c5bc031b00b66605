"""What probes give and records keep: numpy arrays with named axes; nothing here needs torch.

The axes are *epoch* (probed checkpoints), *layer* (0 is the embedding), *start* (of t-SNE), *point* and *component*. A
probe of one checkpoint has no epoch axis; :func:`stack` puts several together.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

T = TypeVar("T")
Values = Float[np.ndarray, "..."]
#: Of one checkpoint, or of several with an epoch axis.
PerCheckpoint = Float[np.ndarray, "*epoch"]
PerLayer = Float[np.ndarray, "*epoch layer"]
PerStart = Float[np.ndarray, "*epoch layer start"]
#: One number that may be NaN, which a plain float of a record may not be.
Number = Float[np.ndarray, ""]
#: [label][metric], of each layer, or of each start of t-SNE at each layer.
Table = dict[str, dict[str, PerLayer]]
StartTable = dict[str, dict[str, PerStart]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterScores:
    """Scores of one split's clusters, by label and metric; what needs t-SNE is empty where it was not run."""

    raw: Table  # of the states themselves
    tsne: Table = field(default_factory=dict)  # the mean over starts of t-SNE
    starts: StartTable = field(default_factory=dict)  # empty in records of one embedding
    mapping: dict[str, Float[np.ndarray, "*epoch start"]] = field(default_factory=dict)  # top layer, clusters: mappings
    divergence: PerStart | None = None  # nats
    top_embedding: Float[np.ndarray, "*epoch point component"] | None = None  # of the most typical start


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """How the nearest training instances of unseen ones agree with them: fractions, [epoch, layer]."""

    percentage: PerLayer  # of the k nearest that belong to the same task
    accuracy: PerLayer  # of predicting the output by their vote


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerClusters:
    """The clusters found in one layer's states: before they are scored."""

    clusters: dict[str, dict[str, Int[np.ndarray, "start point"]]]  # [space][label]; space "raw" has one "start"
    divergence: Float[np.ndarray, " start"]  # nats
    embedding: Float[np.ndarray, "point component"]  # of the start whose F1 by task is nearest the mean
    tsne_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """Scores of some layers of one model, or of features, which are one layer. ``space`` is "raw" or "tsne"."""

    layers: list[int]  # their numbers; 0 is the embedding
    scores: dict[str, Table]  # [space][label][metric], [layer]; after t-SNE the mean over starts
    starts: StartTable = field(default_factory=dict)  # empty in records of one start
    best_layer: dict[str, int]  # [space] the place, in ``layers``, of the highest F1 by task
    interval: dict[str, dict[str, dict[str, tuple[float, float]]]]  # [space][label][metric] 95 % at that layer
    resampled_f1: dict[str, dict[str, Float[np.ndarray, " draw"]]]  # [space][label] at that layer
    divergence: Float[np.ndarray, "layer start"]  # nats
    embedding: Float[np.ndarray, "point component"] | None = None  # of the best layer after t-SNE
    tsne_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """The probed checkpoints, and those of them with t-SNE."""

    raw: list[int]
    tsne: list[int]

    def of(self, space: str) -> list[int]:
        """The epochs of an axis: "raw" or "tsne"."""
        return self.tsne if space == "tsne" else self.raw


def stack(rows: Sequence[T]) -> T:
    """Equal structures as one whose arrays have a new first axis; what only some rows have keeps only those."""
    return _stack(rows)


def _stack(rows: Sequence[Any]) -> Any:
    first = rows[0]
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [f.name for f in dataclasses.fields(first)]
        return dataclasses.replace(first, **{name: _stack_some([getattr(row, name) for row in rows]) for name in names})
    if isinstance(first, Mapping):
        known = dict.fromkeys(name for row in rows for name in row)
        return {name: _stack([row[name] for row in rows if name in row]) for name in known}
    return np.stack(rows)


def _stack_some(values: Sequence[Any]) -> Any:
    there = [value for value in values if value is not None]
    return _stack(there) if there else None
