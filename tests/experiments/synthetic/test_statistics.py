"""Each statistic on a small record with known answers: three epochs, three layers."""

from dataclasses import replace

import numpy as np
import pytest

from taskclust.experiments.synthetic import statistics as s
from taskclust.experiments.synthetic.record import BagNeighbors, Merging
from taskclust.probes.scores import ClusterScores, Epochs, Neighbors
from taskclust.store.codec import encode
from tests.helpers import assert_close
from tests.records import perfect_record

F1 = np.array([[0.2, 0.3, 0.4], [0.2, 0.5, 0.95], [0.3, 0.6, 0.9]])
RECORD = replace(
    perfect_record(0),
    epochs=Epochs(tsne=[0, 5, 10], raw=[0, 2, 5, 10]),
    best_epoch=5,
    scores={
        "validation": ClusterScores(
            tsne={
                "task": {"f1": F1, "shuffled_f1": np.full((3, 3), 0.1)},
                "distribution": {"f1": np.full((3, 3), 0.5)},
            },
            raw={"task": {"f1": np.array([[0.0] * 3, [0.1] * 3, [0.2] * 3, [0.3] * 3])}},
        )
    },
    # the loss is halfway down (2 of 4) at epoch 3, the accuracy halfway up (0.4 of 0.8) at epoch 6
    history={
        "loss": np.array([np.nan, 4.0, 3.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.0, 0.0, 0.0]),
        "validation_accuracy": np.array([0.0, 0.0, 0.0, 0.08, 0.1, 0.3, 0.5, 0.8, 0.7, 0.8, 0.8]),
    },
    knn=Neighbors(
        percentage=np.array([[0.1, 0.1, 0.2], [0.1, 0.3, 0.6], [0.2, 0.5, 0.8]]),
        accuracy=np.array([[0.0, 0.1, 0.3], [0.1, 0.3, 0.6], [0.2, 0.5, 0.7]]),
    ),
    bag_of_symbols={
        "validation": ClusterScores(raw={}, tsne={"task": {"f1": np.array([0.6])}}),
        "subset": ClusterScores(raw={}, tsne={"task": {"f1": np.array([0.44]), "hard_separated": np.array([0.05])}}),
    },
    bag_knn=BagNeighbors(percentage=0.7, accuracy=0.4),
    merging=Merging(states=np.array([0.1, 0.4, 0.3]), bag=np.array(0.2)),
)

STATISTICS = {
    "late": (s.late("validation", "task", "f1"), 0.9),
    "late of another label": (s.late("validation", "distribution", "f1"), 0.5),
    "late without t-SNE": (s.late("validation", "task", "f1", space="raw"), 0.3),
    "early": (s.early("validation", "task", "f1"), 0.4),
    "early without t-SNE": (s.early("validation", "task", "f1", space="raw"), 0.0),
    "rise": (s.rise("validation", "task", "f1"), 0.5),
    "rise of what stays": (s.rise("validation", "task", "shuffled_f1"), 0.0),
    "depth rise": (s.depth_rise("validation", "task", "f1"), 0.6),
    "depth rise of a curved profile": (s.depth_rise("validation", "task", "f1", epoch=1), 0.75),
    "depth rise of the untrained": (s.depth_rise("validation", "task", "f1", epoch=0), 0.2),
    "depth rise of what is flat": (s.depth_rise("validation", "distribution", "f1"), 0.0),
    "baseline stillness": (s.baseline_stillness("validation", "task", "f1"), 0.5 / 4 - 0.1),
    "baseline stillness of what stays": (s.baseline_stillness("validation", "task", "shuffled_f1"), 0.0),
    "best epoch": (s.best_epoch, 5.0),
    "after best": (s.after_best, 0.5),
    "since best": (s.since_best("validation", "f1"), -0.05),
    "before best": (s.before_best("validation", "f1"), -0.55),
    "best rise": (s.best_rise("validation", "f1"), 0.55),
    "highest accuracy": (s.highest_accuracy("validation_accuracy"), 0.8),
    "untrained accuracy": (s.untrained_accuracy("validation_accuracy"), 0.0),
    "accuracy lag": (s.accuracy_lag("validation_accuracy"), 0.3),
    "plateau accuracy": (s.plateau_accuracy("validation_accuracy"), 0.02 / 0.8),
    "lockstep lag": (s.lockstep_lag, 0.0),
    "lockstep plateau": (s.lockstep_plateau, (0 + 0 + 1 + 2.5) / 4 / 4),
    "knn": (s.knn("percentage"), 0.8),
    "knn of an epoch and a layer": (s.knn("percentage", epoch=1, layer=0), 0.1),
    "knn of the other quantity": (s.knn("accuracy"), 0.7),
    "knn rise": (s.knn_rise("percentage"), 0.6),
    "knn rise of a layer": (s.knn_rise("percentage", layer=0), 0.1),
    "knn depth rise": (s.knn_depth_rise("percentage"), 0.6),
    "knn depth rise of the untrained": (s.knn_depth_rise("percentage", epoch=0), 0.1),
    "bag": (s.bag("subset", "task", "f1"), 0.44),
    "bag of hard examples": (s.bag("subset", "task", "hard_separated"), 0.05),
    "merging": (s.distributions_merged(), 0.3),
    "merging of an epoch": (s.distributions_merged(epoch=0), 0.1),
    "merging above bag": (s.distributions_merged_above_bag(epoch=1), 0.2),
    "above bag": (s.above_bag("validation", "task", "f1"), 0.3),
    "above bag of the untrained": (s.above_bag("validation", "task", "f1", epoch=0), -0.2),
    "knn above bag": (s.knn_above_bag("percentage"), 0.1),
    "knn above bag of the untrained": (s.knn_above_bag("percentage", epoch=0), -0.5),
    "knn above bag of the other quantity": (s.knn_above_bag("accuracy"), 0.3),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistic_has_the_known_answer(name):
    statistic, expected = STATISTICS[name]

    assert_close(statistic(RECORD), expected, atol=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_a_float_and_does_not_change_the_record(name):
    before = encode(RECORD)

    assert type(STATISTICS[name][0](RECORD)) is float
    assert encode(RECORD) == before


def test_curve_has_epochs_as_rows_and_layers_as_columns():
    assert_close(s.curve(RECORD, "validation", "task", "f1"), F1)
    assert s.curve(RECORD, "validation", "task", "f1", space="raw").shape == (4, 3)


def test_row_of_an_epoch_depends_on_what_was_probed():
    assert s.at_epoch(RECORD, 5) == 1
    assert s.at_epoch(RECORD, 5, space="raw") == 2
    with pytest.raises(ValueError, match="not in list"):
        s.at_epoch(RECORD, 2)


def test_history_has_no_number_before_training():
    assert_close(s.history(RECORD, "loss"), np.array([np.nan, 4, 3, 1.5, 1, 0.5, 0.2, 0.1, 0, 0, 0]))


@pytest.mark.parametrize(
    ("loss", "epoch"),
    [([np.nan, 4, 2, 0], 2), ([np.nan, 4, 3, 1, 2], 3), ([np.nan, 1, 1], 1), ([np.nan, 8, 9, 7, 3], 4)],
    ids=["at the half", "then up again", "flat", "up at first"],
)
def test_loss_is_half_way_down_at_the_first_epoch_that_reaches_it(loss, epoch):
    assert s.first_half_fallen(np.array(loss, dtype=float)) == epoch


@pytest.mark.parametrize(
    ("accuracy", "epoch"),
    [([0, 0.5, 1], 1), ([0, 0.6, 0, 1], 1), ([0, 0, 0], 0), ([0.3, 0.3], 0)],
    ids=["at the half", "then down again", "nought", "flat"],
)
def test_accuracy_is_half_way_up_at_the_first_epoch_that_reaches_it(accuracy, epoch):
    assert s.first_half_risen(np.array(accuracy, dtype=float)) == epoch


def with_history(loss, accuracy):
    """A record with a loss from epoch 1 on and an accuracy from epoch 0 on."""
    return replace(
        RECORD, history={"loss": np.array([np.nan, *loss], dtype=float), "validation_accuracy": np.array(accuracy)}
    )


def test_accuracy_that_follows_the_loss_has_no_lag():
    record = with_history([4, 3, 2, 1, 0], [0.0, 0.0, 0.25, 0.5, 0.75, 1.0])

    assert s.accuracy_lag("validation_accuracy")(record) == s.lockstep_lag(record) == 0
    assert s.plateau_accuracy("validation_accuracy")(record) == s.lockstep_plateau(record)


def test_accuracy_that_leads_the_loss_has_a_negative_lag():
    record = with_history([4, 4, 4, 4, 0], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0])

    assert_close(s.accuracy_lag("validation_accuracy")(record), -0.8)


def test_accuracy_that_never_rises_has_no_plateau():
    record = with_history([4, 3, 2], [0.0] * 4)

    assert s.plateau_accuracy("validation_accuracy")(record) == 1


def test_follower_of_a_loss_that_never_falls_has_no_plateau():
    record = with_history([4], [0.0, 0.1])

    assert s.lockstep_plateau(record) == 1
