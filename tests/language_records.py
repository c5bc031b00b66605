"""Invented records of language models."""

import numpy as np

from taskclust.config import LABELS, METRICS, LanguageConfig
from taskclust.experiments.natural_language.record import Architecture, Reading, Record
from taskclust.probes.scores import LayerScores


def part(*f1, spread=0.01, n=40):
    """Scores with one layer per F1, equal in every space and for every label and metric."""
    best = int(np.argmax(f1))
    table = {label: {metric: np.array(f1) for metric in METRICS} for label in LABELS}
    ends = (f1[best] - spread, f1[best] + spread)
    draws = np.linspace(*ends, n)
    return LayerScores(
        layers=list(range(len(f1))),
        scores={"raw": table, "tsne": table},
        best_layer={"raw": best, "tsne": best},
        interval={space: {label: dict.fromkeys(METRICS, ends) for label in LABELS} for space in ("raw", "tsne")},
        resampled_f1={space: dict.fromkeys(LABELS, draws) for space in ("raw", "tsne")},
        divergence=np.zeros((len(f1), 1)),
        embedding=np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 0.0, 1.0]]),
        tsne_method="exact",
    )


def language_record(
    model=(0.3, 0.97, 0.9),
    untrained=(0.3, 0.35, 0.4),
    bag=0.5,
    spread=0.01,
    name="a-model",
    model_type="llama",
    draws=2,
):
    """A record with Table 1's pattern."""
    return Record(
        name=name,
        config=LanguageConfig(source="somewhere", untrained=draws),
        model=part(*model, spread=spread),
        untrained=[part(*f1, spread=spread) for f1 in (untrained, untrained[::-1])[:draws]],
        bag=part(bag, spread=spread),
        architecture=Architecture(
            class_name="Model", model_type=model_type, parameters=1_000, layers=len(model) - 1, width=8, dtype="float32"
        ),
        prompts=8_000,
        identities={"task": np.array([0, 1, 1]), "distribution": np.array([0, 1, 2])},
        names={"task": ["Translation", "Knowledge"], "distribution": ["French", "Capital", "Religion"]},
        split_words=0.0,
        reading=Reading(way="instructions once", prompts=64, largest_relative_difference=0.0),
        provenance={"commit": "0123abc", "threads": 1},
        seconds={"all": 1.0},
    )
