"""Figures of the main experiment from made-up records."""

from dataclasses import replace

import numpy as np
import pytest

from taskclust.config import SPLITS
from taskclust.experiments.synthetic.figures import clusters, components, figures, forming, neighbors
from tests.records import perfect_record, world


def with_codes(record, f1):
    """The record with F1 after the inputs' class means are ablated, at every epoch."""
    curves = {name: np.full(len(record.epochs.raw), value) for name, value in {"nothing": 0.3, "input": f1}.items()}
    return replace(record, f1_without=dict.fromkeys(SPLITS, curves))


def test_curves_are_drawn_at_the_epochs_that_all_records_have():
    records = world(perfect_record)

    (line, *_) = neighbors(records).axes[0].get_lines()

    assert list(line.get_xdata()) == [0, 20, 50, 100, 200], "and not at each seed's best"


def test_line_is_the_mean_over_seeds_and_band_their_range():
    records = world(perfect_record)
    late = [record.knn.percentage[-1, 0] for record in records]

    axis = neighbors(records).axes[0]

    assert axis.get_lines()[0].get_ydata()[-1] == pytest.approx(np.mean(late))
    band = axis.collections[0].get_paths()[0].vertices
    at_the_end = band[band[:, 0] == 200][:, 1]
    assert (at_the_end.min(), at_the_end.max()) == (pytest.approx(min(late)), pytest.approx(max(late)))


@pytest.mark.parametrize("components", [1, 2, 5])
def test_clusters_of_any_dimension_are_drawn(components):
    record = perfect_record(0)
    scores = {
        split: replace(one, top_embedding=np.resize(one.top_embedding, (*one.top_embedding.shape[:2], components)))
        for split, one in record.scores.items()
    }

    axes = forming(replace(record, scores=scores)).axes

    assert all(axis.collections for axis in axes)


def test_clusters_have_one_panel_per_split_metric_and_label():
    axes = clusters([perfect_record(0)], ("f1", "ari")).axes

    assert [axis.get_ylabel() for axis in axes[::3]] == [
        "F1, training subset",
        "ARI, training subset",
        "F1, validation set",
        "ARI, validation set",
    ]
    assert [axis.get_title() for axis in axes[:3]] == [
        "Task identity",
        "Distribution identity",
        "Distribution-mapping identity",
    ]


def test_components_are_drawn_of_the_splits_that_every_record_has():
    records = world(perfect_record)
    records[1] = replace(records[1], components={"validation": records[1].components["validation"]})

    drawn = components(records)

    assert [axis.get_title() for axis in drawn.axes] == ["Top layer, validation set"]


def test_ablations_are_drawn_as_means_with_the_unchanged_states():
    records = [with_codes(perfect_record(seed), 0.6 + 0.1 * seed) for seed in range(3)]

    axis = figures(records)["codes-taken-out"].axes[0]

    assert [line.get_label() for line in axis.lines] == ["unchanged", "without input"]
    assert axis.lines[1].get_ydata()[-1] == pytest.approx(0.7)


def test_ablations_are_drawn_only_if_every_record_has_them():
    records = [with_codes(perfect_record(0), 0.6), perfect_record(1)]

    assert "codes-taken-out" not in figures(records)


def test_failed_seeds_are_not_drawn():
    assert figures([replace(record, failure="loss is NaN") for record in world(perfect_record)]) == {}


def lines(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def test_required_bounds_and_controls_are_drawn():
    records = world(perfect_record)
    asked = {("cluster-emergence", "subset", "late f1"): 0.9, ("knn-accuracy", "validation", "late level"): 0.6}

    drawn = figures(records, asked)

    task, *_ = [lines(axis) for axis in drawn["figure-2-f1"].axes]
    assert list(task["asked"].get_ydata()) == [0.9, 0.9]
    assert task["best epoch, mean"].get_xdata()[0] == np.mean([record.best_epoch for record in records])
    bag = np.mean([record.bag_of_symbols["subset"].tsne["task"]["f1"][0] for record in records])
    assert task["bag of symbols"].get_ydata()[0] == pytest.approx(bag)
    percentage, accuracy = (lines(axis) for axis in drawn["figure-4-neighbors"].axes)
    assert list(accuracy["asked"].get_ydata()) == [0.6, 0.6]
    assert "asked" not in percentage
    assert all("asked" not in lines(axis) for axis in drawn["figure-3-learning"].axes)


def test_a_legend_names_each_line_once_outside_the_panels():
    drawn = figures(world(perfect_record))["figure-2-f1"]

    (legend,) = drawn.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == len(set(names))
    assert {"layer 0", "bag of symbols", "best epoch, mean"} <= set(names)
    assert all(axis.get_legend() is None for axis in drawn.axes)
