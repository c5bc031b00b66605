"""Each measure on a record small enough to be read: three epochs, three layers, known answers."""

import copy

import numpy as np
import pytest

from taskclust.claims import measures as m
from tests.helpers import assert_close

F1 = [[0.2, 0.3, 0.4], [0.2, 0.5, 0.95], [0.3, 0.6, 0.9]]
RECORD = {
    "epochs": {"tsne": [0, 5, 10], "raw": [0, 2, 5, 10]},
    "best_epoch": 5,
    "scores": {
        "validation": {
            "tsne": {"task": {"f1": F1, "shuffled_f1": [[0.1, 0.1, 0.1]] * 3}, "distribution": {"f1": [[0.5] * 3] * 3}},
            "raw": {"task": {"f1": [[0.0] * 3, [0.1] * 3, [0.2] * 3, [0.3] * 3]}},
        }
    },
    # the loss is half way down, at 2 of 4 to 0, at epoch 3; the accuracy half way up, at 0.4 of 0.8, at epoch 6
    "history": [
        {"loss": loss, "validation_accuracy": accuracy}
        for loss, accuracy in zip(
            [None, 4.0, 3.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.08, 0.1, 0.3, 0.5, 0.8, 0.7, 0.8, 0.8],
            strict=True,
        )
    ],
    "knn": {"percentage": [[0.1, 0.1, 0.2], [0.1, 0.3, 0.6], [0.2, 0.5, 0.8]]},
    "bag_of_symbols": {
        "validation": {"tsne": {"task": {"f1": [0.6]}}},
        "subset": {"tsne": {"task": {"f1": [0.44], "hard_separated": [0.05]}}},
    },
    "bag_knn": {"percentage": 0.7},
    "merging": {"states": [0.1, 0.4, 0.3], "bag": 0.2},
    "sizes": {"train": 90, "subset": 210},
}

READINGS = {
    "late": (m.late("validation", "task", "f1"), 0.9),
    "late of another label": (m.late("validation", "distribution", "f1"), 0.5),
    "late without t-SNE": (m.late("validation", "task", "f1", space="raw"), 0.3),
    "early": (m.early("validation", "task", "f1"), 0.4),
    "early without t-SNE": (m.early("validation", "task", "f1", space="raw"), 0.0),
    "rise": (m.rise("validation", "task", "f1"), 0.5),
    "rise of what stays": (m.rise("validation", "task", "shuffled_f1"), 0.0),
    "depth rise": (m.depth_rise("validation", "task", "f1"), 0.6),
    "depth rise of a curved profile": (m.depth_rise("validation", "task", "f1", epoch=1), 0.75),
    "depth rise of the untrained": (m.depth_rise("validation", "task", "f1", epoch=0), 0.2),
    "depth rise of what is flat": (m.depth_rise("validation", "distribution", "f1"), 0.0),
    "baseline stillness": (m.baseline_stillness("validation", "task", "f1"), 0.5 / 4 - 0.1),
    "baseline stillness of what stays": (m.baseline_stillness("validation", "task", "shuffled_f1"), 0.0),
    "after best": (m.after_best, 0.5),
    "since best": (m.since_best("validation", "f1"), -0.05),
    "before best": (m.before_best("validation", "f1"), -0.55),
    "accuracy lag": (m.accuracy_lag("validation_accuracy"), 0.3),
    "plateau accuracy": (m.plateau_accuracy("validation_accuracy"), 0.02 / 0.8),
    "lockstep lag": (m.lockstep_lag, 0.0),
    "lockstep plateau": (m.lockstep_plateau, (0 + 0 + 1 + 2.5) / 4 / 4),
    "knn": (m.knn("percentage"), 0.8),
    "knn of an epoch and a layer": (m.knn("percentage", epoch=1, layer=0), 0.1),
    "knn rise": (m.knn_rise("percentage"), 0.6),
    "knn rise of a layer": (m.knn_rise("percentage", layer=0), 0.1),
    "knn depth rise": (m.knn_depth_rise("percentage"), 0.6),
    "knn depth rise of the untrained": (m.knn_depth_rise("percentage", epoch=0), 0.1),
    "bag": (m.bag("subset", "task", "f1"), 0.44),
    "merging": (m.merging(), 0.3),
    "merging of an epoch": (m.merging(epoch=0), 0.1),
    "merging above bag": (m.merging_above_bag(epoch=1), 0.2),
    "above bag": (m.above_bag("validation", "task", "f1"), 0.3),
    "above bag of the untrained": (m.above_bag("validation", "task", "f1", epoch=0), -0.2),
    "knn above bag": (m.knn_above_bag("percentage"), 0.1),
    "knn above bag of the untrained": (m.knn_above_bag("percentage", epoch=0), -0.5),
    "bag of hard examples": (m.bag("subset", "task", "hard_separated"), 0.05),
    "size below the printed": (m.size_deviation("train", 100), 0.1),
    "size above the printed": (m.size_deviation("subset", 200), 0.05),
}


@pytest.mark.parametrize("name", READINGS)
def test_reading_has_the_known_answer(name):
    reading, expected = READINGS[name]

    assert_close(reading(RECORD), expected, atol=1e-12)


@pytest.mark.parametrize("name", READINGS)
def test_reading_is_a_plain_float_and_leaves_the_record_alone(name):
    record = copy.deepcopy(RECORD)

    assert type(READINGS[name][0](record)) is float
    assert record == RECORD


def test_curve_has_epochs_as_rows_and_layers_as_columns():
    assert_close(m.curve(RECORD, "validation", "task", "f1"), np.array(F1))
    assert m.curve(RECORD, "validation", "task", "f1", space="raw").shape == (4, 3)


def test_row_of_an_epoch_depends_on_what_was_probed():
    assert m.at_epoch(RECORD, 5) == 1
    assert m.at_epoch(RECORD, 5, space="raw") == 2
    with pytest.raises(ValueError, match="not in list"):
        m.at_epoch(RECORD, 2)


def test_history_has_no_number_before_training():
    assert_close(m.history(RECORD, "loss"), np.array([np.nan, 4, 3, 1.5, 1, 0.5, 0.2, 0.1, 0, 0, 0]))


@pytest.mark.parametrize(
    ("loss", "epoch"),
    [([np.nan, 4, 2, 0], 2), ([np.nan, 4, 3, 1, 2], 3), ([np.nan, 1, 1], 1), ([np.nan, 8, 9, 7, 3], 4)],
    ids=["at the half", "then up again", "flat", "up at first"],
)
def test_loss_is_half_way_down_at_the_first_epoch_that_reaches_it(loss, epoch):
    assert m.first_half_fallen(np.array(loss, dtype=float)) == epoch


@pytest.mark.parametrize(
    ("accuracy", "epoch"),
    [([0, 0.5, 1], 1), ([0, 0.6, 0, 1], 1), ([0, 0, 0], 0), ([0.3, 0.3], 0)],
    ids=["at the half", "then down again", "nought", "flat"],
)
def test_accuracy_is_half_way_up_at_the_first_epoch_that_reaches_it(accuracy, epoch):
    assert m.first_half_risen(np.array(accuracy, dtype=float)) == epoch


def with_history(loss, accuracy):
    return {"history": [{"loss": x, "validation_accuracy": a} for x, a in zip(loss, accuracy, strict=True)]}


def test_accuracy_that_follows_the_loss_has_no_lag():
    record = with_history([None, 4, 3, 2, 1, 0], [0.0, 0.0, 0.25, 0.5, 0.75, 1.0])

    assert m.accuracy_lag("validation_accuracy")(record) == m.lockstep_lag(record) == 0
    assert m.plateau_accuracy("validation_accuracy")(record) == m.lockstep_plateau(record)


def test_accuracy_that_leads_the_loss_has_a_negative_lag():
    record = with_history([None, 4, 4, 4, 4, 0], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0])

    assert_close(m.accuracy_lag("validation_accuracy")(record), -0.8)


def test_accuracy_that_never_rises_has_no_plateau():
    record = with_history([None, 4, 3, 2], [0.0] * 4)

    assert m.plateau_accuracy("validation_accuracy")(record) == 1


def test_follower_of_a_loss_that_never_falls_has_no_plateau():
    record = with_history([None, 4], [0.0, 0.1])

    assert m.lockstep_plateau(record) == 1
