"""Records of language models made up for tests."""

from taskclust.config import LABELS, METRICS


def part(*f1, spread=0.01, n=40):
    """Scores of as many layers as there are F1, alike in every space and for every label and metric."""
    best = max(range(len(f1)), key=f1.__getitem__)
    table = {label: {metric: list(f1) for metric in METRICS} for label in LABELS}
    ends = [f1[best] - spread, f1[best] + spread]
    draws = [f1[best] + spread * (2 * i / (n - 1) - 1) for i in range(n)]
    return {
        "layers": list(range(len(f1))),
        "scores": {"raw": table, "tsne": table},
        "best_layer": {"raw": best, "tsne": best},
        "interval": {space: {label: dict.fromkeys(METRICS, ends) for label in LABELS} for space in ("raw", "tsne")},
        "resampled_f1": {space: dict.fromkeys(LABELS, draws) for space in ("raw", "tsne")},
        "embedding": [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 0.0, 1.0]],
    }


def language_record(model=(0.3, 0.97, 0.9), twin=(0.3, 0.35, 0.4), bag=0.5, spread=0.01, name="a-model"):
    """A record in which Table 1's pattern holds."""
    return {
        "name": name,
        "config": {"source": "somewhere", "seed": 0},
        "model": part(*model, spread=spread),
        "nulls": {"twin": part(*twin, spread=spread), "bag": part(bag, spread=spread)},
        "architecture": {"model_type": "llama"},
        "prompts": 8_000,
        "identities": {"task": [0, 1, 1], "distribution": [0, 1, 2]},
        "names": {"task": ["Translation", "Knowledge"], "distribution": ["French", "Capital", "Religion"]},
        "provenance": {"commit": "0123abc"},
        "seconds": {"all": 1.0},
    }
