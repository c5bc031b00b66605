"""The deviation of starts is computed from the range of three, and their part of the variance from the seeds'."""

from dataclasses import replace

import numpy as np
import pytest

from studies.starts import RANGE_OF_THREE, deviation_of_starts, rows
from taskclust.config import LABELS, SPLITS
from taskclust.probes.scores import ClusterScores
from tests.records import perfect_record


def record(end, spread):
    ends = {"f1": end, "f1_low": end - spread / 2, "f1_high": end + spread / 2}
    table = {name: np.array([[0.1, value]] * 3) for name, value in ends.items()}
    found = perfect_record(0)
    return replace(found, scores={split: ClusterScores(raw={}, tsne=dict.fromkeys(LABELS, table)) for split in SPLITS})


def test_the_range_of_three_normal_values_is_the_constant():
    drawn = np.random.default_rng(0).normal(size=(100_000, 3))

    assert np.ptp(drawn, axis=1).mean() == pytest.approx(RANGE_OF_THREE, abs=0.02)


def test_a_range_is_a_deviation():
    assert deviation_of_starts(record(0.5, 0.1693), "validation", "task") == pytest.approx(0.1)


def test_starts_have_their_part_of_the_seeds_variance():
    """Seeds at 0.4 and 0.6 have deviation 0.141, starts 0.1: a half of the variance for one start, 1/20 for ten."""
    row, *others = rows([record(0.4, 0.1693), record(0.6, 0.1693)])

    assert (row["deviation of starts"], row["deviation of seeds"]) == ("0.100", "0.141")
    assert (row["part of 1 starts"], row["part of 10 starts"]) == ("0.50", "0.05")
    assert len(others) == 5


def test_a_model_of_one_seed_has_no_row():
    assert rows([record(0.4, 0.1)]) == []


def test_records_of_ten_starts_and_other_trainings_are_left_out():
    of_three = record(0.4, 0.1)
    table = {name: of_three.scores["subset"].tsne["task"][name] for name in ("f1",)}
    of_ten = replace(
        of_three, scores={split: ClusterScores(raw={}, tsne=dict.fromkeys(LABELS, table)) for split in SPLITS}
    )
    config = of_three.config
    other = replace(of_three, config=replace(config, training=replace(config.training, loss_over="outputs")))

    assert rows([of_three, of_ten, other]) == []
    assert [row["seeds"] for row in rows([of_three, of_ten, other, record(0.6, 0.1)])] == [2] * 6
