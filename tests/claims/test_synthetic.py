"""The claims of the main experiment in a world where the paper is right, and in worlds where nothing is learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taskclust.claims import judge, load_claims
from taskclust.config import LABELS, SPLITS
from taskclust.experiments.synthetic.record import BagNeighbors
from taskclust.probes.scores import ClusterScores
from tests.records import dead_record, perfect_record, world

CLAIMS = load_claims(Path(__file__).parents[2] / "benchmarks")
#: Claims that the made-up worlds of tests/records.py support; add a new claim here once they support it.
SHOWN = {
    "cluster-emergence", "distribution-merging", "layer-ordering", "hard-example-separation", "inner-structure",
    "plateau-then-rise", "clusters-outlast-early-stop", "knn-percentage", "knn-accuracy",
}  # fmt: skip
CELLS = [(claim.id, cell) for claim in CLAIMS.values() if claim.id in SHOWN for cell in claim.cells]
JUDGED = [("paper", *cell) for cell in CELLS] + [
    ("smoke", claim, cell) for claim, cell in CELLS if cell not in CLAIMS[claim].paper_only
]


def verdict(claim, cell, records, profile="paper"):
    return judge(CLAIMS[claim], cell, records, profile)


# --- a world in which the paper is right


@pytest.mark.parametrize(("claim", "cell"), CELLS)
def test_claims_are_reproduced_on_records_that_agree_with_the_paper(claim, cell):
    result = verdict(claim, cell, world(perfect_record))

    assert result.verdict == "reproduced", result.explain()


@pytest.mark.parametrize(("claim", "cell"), CELLS)
def test_three_such_seeds_are_too_few(claim, cell):
    result = verdict(claim, cell, world(perfect_record)[:3])

    assert result.verdict == "inconclusive", result.explain()


# --- worlds in which nothing is learned

DEAD = {
    "low": {"level": 0.3},
    "deep": {"level": 0.3, "gain": 0.3},
    "high": {"level": 0.95},
    "high-and-deep": {"level": 0.6, "gain": 0.38},
}


@pytest.mark.parametrize("kind", DEAD)
@pytest.mark.parametrize(("profile", "claim", "cell"), JUDGED)
def test_unchanging_records_reproduce_nothing(profile, claim, cell, kind):
    result = verdict(claim, cell, world(dead_record, **DEAD[kind]), profile)

    assert result.verdict != "reproduced", result.explain()


@pytest.fixture(scope="module")
def noisy_worlds():
    """Worlds in which nothing is learned, whose scores vary like t-SNE's starts, with an occasional lucky hit."""
    return [world(dead_record, 10 * n, noise=0.04, lucky=True) for n in range(1, 61)]


@pytest.mark.parametrize(("profile", "claim", "cell"), JUDGED)
def test_noise_is_seldom_reproduced(noisy_worlds, profile, claim, cell):
    """At most 7 of 60: if each errs once in twenty, more are found once in a hundred times."""
    found = [verdict(claim, cell, records, profile) for records in noisy_worlds]

    reproduced = [result.explain() for result in found if result.verdict == "reproduced"]
    assert len(reproduced) <= 7, f"{len(reproduced)} of {len(found)}, e.g. {reproduced[0]}"


@pytest.mark.parametrize(("claim", "cell"), CELLS)
def test_failed_trainings_reproduce_nothing(claim, cell):
    records = [replace(record, failure="loss is NaN") for record in world(perfect_record)]

    result = verdict(claim, cell, records)

    assert result.verdict != "reproduced", result.explain()


def as_good_a_bag(record):
    """The record with a bag-of-symbols baseline that scores like its model."""
    late = record.scores["validation"].tsne["task"]["f1"][-1, -1]
    bag = ClusterScores(raw={}, tsne={label: {"f1": np.array([late])} for label in LABELS})
    neighbors = BagNeighbors(
        percentage=float(record.knn.percentage[-1, -1]), accuracy=float(record.knn.accuracy[-1, -1])
    )
    return replace(record, bag_of_symbols=dict.fromkeys(SPLITS, bag), bag_knn=neighbors)


@pytest.mark.parametrize(
    ("claim", "cell"),
    [
        *(("cluster-emergence", split) for split in SPLITS),
        *(("inner-structure", f"{split}-distribution") for split in SPLITS),
        *((f"knn-{quantity}", "validation") for quantity in ("percentage", "accuracy")),
    ],
)
def test_scores_no_better_than_the_bag_of_symbols_reproduce_nothing(claim, cell):
    records = world(perfect_record)

    assert verdict(claim, cell, records).verdict == "reproduced"
    assert verdict(claim, cell, [as_good_a_bag(record) for record in records]).verdict == "not reproduced"
