"""The claims of §4.1 on hand-made records: which reproduce them and which do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taskclust.claims import judge, load_claims
from taskclust.config import METRICS, SPLITS
from taskclust.probes.scores import ClusterScores
from tests.experiments.pretraining.test_statistics import tuned

CLAIMS = load_claims(Path(__file__).parents[2] / "benchmarks")
SLOW = [0.0] + [0.0] * 20 + [0.1 * i for i in range(10)] + [0.9] * 10
FAST = [0.0] + [0.1 * i for i in range(10)] + [0.95] * 30


def speedup(*, identity, shuffled=SLOW, failure=None):
    record = tuned(identity=identity, instruction=SLOW, none=SLOW, shuffled=shuffled)
    return judge(CLAIMS["pretraining-speedup"], "validation", [replace(record, failure=failure)] * 5, "paper").verdict


def test_a_faster_and_higher_arm_reproduces_the_speedup():
    assert speedup(identity=FAST) == "reproduced"


def test_an_arm_equal_to_its_rivals_does_not_reproduce_the_speedup():
    assert speedup(identity=SLOW) == "not reproduced"


def test_a_speedup_also_of_shuffled_identities_is_inconclusive():
    assert speedup(identity=FAST, shuffled=FAST) == "inconclusive"


def test_failed_trainings_reproduce_no_speedup():
    assert speedup(identity=FAST, failure="the loss became nan") == "not reproduced"


def clustered(first, last):
    """A record whose scores go from one value to the other, except those of shuffled labels."""
    curves = {metric: np.array([[first] * 2, [last] * 2]) for metric in METRICS}
    still = {f"shuffled_{metric}": np.full((2, 2), 0.2) for metric in ("f1", "ari")}
    table = {"task": {**curves, **still}}
    scores = ClusterScores(raw=table, tsne=table)
    return replace(tuned(none=[0.0, 0.5]), scores=dict.fromkeys(SPLITS, scores))


@pytest.mark.parametrize("cell", CLAIMS["pretraining-clusters"].cells)
def test_only_clusters_that_form_during_pretraining_are_reproduced(cell):
    verdicts = [
        judge(CLAIMS["pretraining-clusters"], cell, [clustered(first, last)] * 5, "paper").verdict
        for first, last in ((0.3, 0.9), (0.3, 0.6), (0.9, 0.9))
    ]

    assert verdicts == ["reproduced", "not reproduced", "not reproduced"]
