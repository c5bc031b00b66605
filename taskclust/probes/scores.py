"""The results of probes, as records store them: dataclasses of numpy arrays with named axes, without torch.

The axes are *epoch* (probed checkpoints), *layer* (0 is the embedding), *start* (of t-SNE), *point* and *component*.
The results of one checkpoint have no epoch axis; :func:`stack` combines several checkpoints.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

T = TypeVar("T")
Values = Float[np.ndarray, "..."]
#: Values of one checkpoint, or of several checkpoints with an epoch axis.
PerCheckpoint = Float[np.ndarray, "*epoch"]
PerLayer = Float[np.ndarray, "*epoch layer"]
PerStart = Float[np.ndarray, "*epoch layer start"]
#: One number that may be NaN. A plain float in a record may not.
Number = Float[np.ndarray, ""]
#: [label][metric]: values per layer, or per layer and start of t-SNE.
Table = dict[str, dict[str, PerLayer]]
StartTable = dict[str, dict[str, PerStart]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterScores:
    """The scores of one split's clusters, by label and metric; everything after t-SNE is empty if it was not run."""

    raw: Table  # clusters of the states themselves
    tsne: Table = field(default_factory=dict)  # clusters after t-SNE: the mean over its starts
    starts: StartTable = field(default_factory=dict)  # empty in records with one embedding
    mapping: dict[str, Float[np.ndarray, "*epoch start"]] = field(default_factory=dict)  # top layer, by mapping
    divergence: PerStart | None = None  # of t-SNE, in nats
    top_embedding: Float[np.ndarray, "*epoch point component"] | None = None  # top layer, most typical start
    layer_embeddings: Float[np.ndarray, "*epoch layer point component"] | None = None  # of each its most typical start


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """How well unseen instances agree with their nearest training instances: fractions, [epoch, layer]."""

    percentage: PerLayer  # share of the k nearest that belong to the same task
    accuracy: PerLayer  # share of outputs that their vote predicts correctly


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerClusters:
    """The clusters found in one layer's states, not yet scored."""

    clusters: dict[str, dict[str, Int[np.ndarray, "start point"]]]  # [space][label]; "raw" has one "start"
    divergence: Float[np.ndarray, " start"]  # of t-SNE, in nats
    embedding: Float[np.ndarray, "point component"]  # of the start whose F1 by task is nearest the mean
    tsne_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScores:
    """The scores of some layers of one model, or of one set of features as a single layer.

    A *space* is "raw" (the states themselves) or "tsne" (after t-SNE).
    """

    layers: list[int]  # the layers' numbers; 0 is the embedding
    scores: dict[str, Table]  # [space][label][metric], per layer; after t-SNE the mean over its starts
    starts: StartTable = field(default_factory=dict)  # empty in records with one start
    best_layer: dict[str, int]  # [space]: index in ``layers`` of the highest F1 by task
    interval: dict[str, dict[str, dict[str, tuple[float, float]]]]  # [space][label][metric]: 95 %, best layer
    resampled_f1: dict[str, dict[str, Float[np.ndarray, " draw"]]]  # [space][label], at the best layer
    divergence: Float[np.ndarray, "layer start"]  # of t-SNE, in nats
    embedding: Float[np.ndarray, "point component"] | None = None  # of the best layer after t-SNE
    tsne_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """The epochs of the probed checkpoints, and of those that were also probed after t-SNE."""

    raw: list[int]
    tsne: list[int]

    def of(self, space: str) -> list[int]:
        """The epochs of the values in a space, "raw" or "tsne"."""
        return self.tsne if space == "tsne" else self.raw


def stack(rows: Sequence[T]) -> T:
    """One structure whose arrays have a new first axis, from several of the same kind.

    A value that only some of them have is stacked over only those.
    """
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
