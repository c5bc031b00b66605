"""Figures 5a and 5b from hand-made records."""

import numpy as np
import pytest

from taskclust.experiments.pretraining.figures import figures
from tests.experiments.pretraining.test_statistics import SCORES, tuned


@pytest.fixture(scope="module")
def made():
    return figures([tuned(seed=seed, none=[0.0, 0.5]) for seed in (0, 1)])


def test_figures_are_5a_and_5b(made):
    assert list(made) == ["figure-5a-pretraining-clusters", "figure-5b-pretraining-speedup"]


def test_figure_5a_has_one_panel_per_split_and_metric(made):
    axes = made["figure-5a-pretraining-clusters"].axes

    assert [(axis.get_ylabel(), axis.get_title()) for axis in axes] == [
        (split, metric) for split in ("validation set", "training subset") for metric in ("F1", "ARI", "AMI")
    ]
    solid = [line for line in axes[0].get_lines() if line.get_linestyle() == "-"]
    assert [line.get_ydata().tolist() for line in solid] == SCORES.T.tolist()
    assert all(line.get_xdata().tolist() == [0, 3] for line in solid)


def test_figure_5b_has_one_line_per_arm():
    records = [tuned(none=[0.0, 0.5], identity=[0.0, late]) for late in (0.7, 0.9)]

    lines = figures(records)["figure-5b-pretraining-speedup"].axes[0].get_lines()

    assert [line.get_label() for line in lines] == [
        "task identity pre-training",
        "instruction pre-training",
        "no pre-training",
        "shuffled identities (null)",
    ]
    np.testing.assert_allclose(lines[0].get_ydata(), [0.0, 0.8])


@pytest.mark.parametrize(
    "records", [[], [tuned(none=[0.0, 0.5], failure="the loss became nan")]], ids=["none", "failed"]
)
def test_nothing_to_show_makes_no_figure(records):
    assert figures(records) == {}
