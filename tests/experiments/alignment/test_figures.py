"""The figure of forgetting, from hand-made records."""

from dataclasses import replace

import pytest

from taskclust.experiments.alignment.figures import figures
from tests.experiments.alignment.test_tables import aligned


def test_forgetting_is_drawn_of_both_fine_tunings_with_the_selected_epoch():
    made = figures([aligned(0.1)] * 2)

    assert list(made) == ["forgetting"]
    for axis, name in zip(made["forgetting"].axes, ("direct", "head"), strict=True):
        assert axis.get_title() == f"{name} fine-tuning"
        source, others, *selected = axis.get_lines()
        assert (source.get_label(), source.get_ydata().tolist()) == ("source, unseen", [0.0, 1.0])
        assert (others.get_label(), others.get_ydata().tolist()) == ("others, unseen", [1.0, 0.9])
        assert [line.get_xdata() for line in selected] == [[1, 1]] * 2


@pytest.mark.parametrize(
    "records", [[], [replace(aligned(0.1), failure="the loss became nan")]], ids=["none", "failed"]
)
def test_nothing_to_show_makes_no_figure(records):
    assert figures(records) == {}
