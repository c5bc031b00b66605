"""Statistics of a language model's record, and of each resample."""

from dataclasses import replace

import numpy as np
import pytest

from taskclust.experiments.natural_language import statistics as s
from tests.language_records import language_record, part


def test_f1_is_that_of_the_layer_of_best_f1_by_task_then_the_resamples():
    point, *draws = s.f1("task")(language_record())

    assert point == 0.97
    assert (min(draws), max(draws), len(draws)) == (pytest.approx(0.96), pytest.approx(0.98), 40)


def test_by_another_identity_the_layer_is_still_the_one_of_best_f1_by_task():
    record = language_record()
    scores = {**record.model.scores["tsne"], "distribution_mapping": {"f1": np.array([0.1, 0.2, 0.3])}}
    record = replace(record, model=replace(record.model, scores={**record.model.scores, "tsne": scores}))

    assert s.f1("distribution_mapping")(record)[0] == 0.2


def test_negative_controls_have_their_own_best_layer():
    record = language_record(untrained=(0.3, 0.35, 0.4), bag=0.5)

    assert (s.f1("task", "untrained")(record)[0], s.f1("task", "bag")(record)[0]) == (0.4, 0.5)


@pytest.mark.parametrize(("untrained", "bag"), [((0.3, 0.4), 0.5), ((0.3, 0.5), 0.4)], ids=["bag", "untrained"])
def test_the_surface_is_the_better_negative_control_in_each_draw(untrained, bag):
    record = language_record(untrained=untrained, bag=bag, spread=0.01)

    point, *draws = s.above_surface("task")(record)

    assert point == pytest.approx(0.97 - 0.5)
    assert draws == pytest.approx([0.97 - 0.5] * 40), "which rise and fall together"


def test_the_bag_is_never_above_the_surface():
    record = language_record(bag=0.9)

    assert max(s.above_surface("task", "bag")(record)) <= 0


def found_in(values, spread=0.0):
    """A record with these F1 of the model and of untrained models."""
    record = language_record(model=(values[0],), bag=0.0, spread=spread)
    return replace(
        record,
        untrained=[part(value, spread=spread, n=400) for value in values[1:]],
        model=part(values[0], spread=spread, n=400),
        bag=part(0.0, spread=0.0, n=400),
    )


def test_an_untrained_model_is_rarely_above_three_others():
    """With four equal models the check passes in at most 2.5 % of 400 trials; 24 or more are one chance in 10,000."""
    rng = np.random.default_rng(0)
    draws = np.clip(rng.normal(0.6, 0.1, size=(400, 4)), 0, 1)

    held = [np.percentile(s.above_surface("task")(found_in(row))[1:], 2.5) > 0 for row in draws]

    assert sum(held) < 24


def test_a_model_far_above_three_similar_controls_passes():
    assert np.percentile(s.above_surface("task")(found_in((0.95, 0.60, 0.62, 0.61)))[1:], 2.5) > 0.05


def test_the_first_value_is_the_mean_and_one_model_gives_nan():
    assert s.above_surface("task")(found_in((0.95, 0.5, 0.7)))[0] == pytest.approx(0.35)
    assert np.isnan(s.above_surface("task")(found_in((0.95, 0.5)))).all()
