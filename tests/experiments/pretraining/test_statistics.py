"""Statistics of §4.1 on hand-made records."""

import numpy as np
import pytest

from taskclust.config import ARMS, METRICS, SPLITS, PretrainingConfig
from taskclust.experiments.pretraining import statistics as s
from taskclust.experiments.pretraining.record import Record, Stage
from taskclust.probes.scores import ClusterScores, Epochs

SCORES = np.array([[0.1, 0.2], [0.3, 0.9]])


def stage(accuracies, best_epoch=0):
    loss = np.concatenate([[np.nan], np.ones(len(accuracies) - 1)])
    return Stage(history={"loss": loss, "validation_accuracy": np.array(accuracies)}, best_epoch=best_epoch)


def tuned(seed=0, failure=None, **curves):
    """A record of §4.1 with these validation accuracies; arms without any have those of no pre-training."""
    full = {arm: curves.get(arm, curves["none"]) for arm in ARMS}
    table = {"task": dict.fromkeys((*METRICS, "shuffled_f1", "shuffled_ari"), SCORES)}
    return Record(
        config=PretrainingConfig(seed=seed),
        failure=failure,
        pretraining={arm: stage([0.0, 1.0], best_epoch=7) for arm in ARMS if arm != "none"},
        tuning={arm: stage(curve) for arm, curve in full.items()},
        epochs=Epochs(raw=[0, 3], tsne=[0, 3]),
        scores={split: ClusterScores(raw=table, tsne=table) for split in SPLITS},
        seconds={"train": 1.0},
        provenance={"commit": "0123abc", "threads": 1},
    )


def test_scores_are_the_top_layers_at_the_first_and_the_last_checkpoint():
    record = tuned(none=[0.0, 0.5])

    found = [read("validation", "task", "f1")(record) for read in (s.early, s.late, s.rise)]

    assert found == [0.2, 0.9, pytest.approx(0.7)]


def test_tuning_is_the_validation_accuracy_of_the_arm():
    record = tuned(none=[0.0, 0.5], identity=[0.1, 0.7])

    assert s.tuning(record, "identity").tolist() == [0.1, 0.7]


def test_epochs_are_counted_to_the_first_that_reaches_the_level():
    curve = s.tuning(tuned(none=[0.0, 0.5, 0.4, 0.9]), "none")

    assert [s.epochs_to(curve, level) for level in (0.0, 0.5, 0.6)] == [0, 1, 3]


def test_an_unreached_level_counts_as_one_more_than_the_epochs():
    assert s.epochs_to(np.array([0.0, 0.5, 0.4, 0.9]), 0.95) == 4


def test_gains_are_over_the_better_of_the_two_rivals():
    record = tuned(identity=[0.0, 0.8, 1.0], instruction=[0.0, 0.2, 0.9], none=[0.4, 0.4, 0.4])

    assert s.epochs_saved("identity", 0.5)(record) == pytest.approx(1 / 2)
    assert s.area_gain("identity")(record) == pytest.approx(0.6 - 0.4)
    assert s.final_gain("identity")(record) == pytest.approx(0.1)
    assert s.final_gain("shuffled")(record) == pytest.approx(-0.5)
