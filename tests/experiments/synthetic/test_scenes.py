"""Animations of clusters forming: points move without jumping and show their instances."""

from dataclasses import replace

import numpy as np
import pytest

from taskclust.config import SPLITS
from taskclust.data import generate
from taskclust.experiments.synthetic import scenes as S
from taskclust.report.page import scenes_of
from taskclust.runner import Runner
from taskclust.store import Store
from tests.experiments.small import CONFIG


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return Runner(Store(tmp_path_factory.mktemp("store"))).record("synthetic", CONFIG)


@pytest.fixture(scope="module")
def found(record):
    return dict(zip(SPLITS, list(S.scenes([record]).values())[::2], strict=True))


def test_points_are_rotated_onto_those_of_the_epoch_before():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = np.stack([points, 7 * points @ turn + 3, -2 * points])

    turned = S.turned(moved)

    np.testing.assert_allclose(turned[1], turned[0], atol=1e-9)
    np.testing.assert_allclose(turned[2], turned[0], atol=1e-9)
    np.testing.assert_allclose(np.square(turned).sum(axis=2).mean(axis=1), 1)


def test_a_scene_has_one_frame_and_step_per_epoch(found, record):
    for split, figure in found.items():
        assert [step.label for step in figure.layout.sliders[0].steps] == list(map(str, record.epochs.tsne))
        assert len(figure.frames) == len(record.epochs.tsne)
        f1 = record.scores[split].tsne["task"]["f1"][-1, -1]
        assert figure.layout.title.text == f"epoch {record.epochs.tsne[-1]}: F1 by task {f1:.2f}"
        assert figure.frames[-1].layout.title.text == figure.layout.title.text


def test_layers_follow_one_another_from_the_embedding_to_the_top(record):
    figure = list(S.scenes([record]).values())[1]

    layers = record.layers_at_end["validation"]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "1", "2"]
    assert figure.layout.sliders[0].currentvalue.prefix == "layer "
    f1 = record.scores["validation"].tsne["task"]["f1"][-1]
    titles = [frame.layout.title.text for frame in figure.frames]
    assert titles == [f"layer {layer}: F1 by task {value:.2f}" for layer, value in enumerate(f1)]
    np.testing.assert_array_equal(layers[-1], record.scores["validation"].top_embedding[-1])
    frame = figure.frames[1].data[0]
    np.testing.assert_allclose(np.stack([frame.x, frame.y, frame.z], axis=1), S.turned(layers)[1], atol=1e-5)


def test_a_record_without_layers_has_only_its_epochs(record):
    assert len(S.scenes([record])) == 2 * len(S.scenes([replace(record, layers_at_end=None)])) == 4


def test_frames_are_the_records_points(found, record):
    points = record.scores["validation"].top_embedding
    moving = S.turned(points)
    frame = found["validation"].frames[0].data[0]

    np.testing.assert_allclose(np.stack([frame.x, frame.y, frame.z], axis=1), moving[0], atol=1e-5)


def test_a_point_shows_its_instance(found):
    dataset = generate(CONFIG.data, CONFIG.seed)
    for split, figure in found.items():
        labels = dataset.splits[split].labels("task")
        cloud = figure.data[0]
        assert len(cloud.text) == len(labels)
        assert all(f"task {task}, distribution" in text for task, text in zip(labels, cloud.text, strict=True))


def test_colors_are_by_task_or_another_identity(found):
    buttons = {button.label: button.args[0] for button in found["subset"].layout.updatemenus[1].buttons}
    labels = generate(CONFIG.data, CONFIG.seed).subset

    assert list(buttons) == ["color: task", "color: distribution", "color: mapping", "color: hard or original"]
    assert tuple(buttons["color: task"]["marker.color"][0]) == tuple(found["subset"].data[0].marker.color)
    for name, label in (("color: task", "task"), ("color: hard or original", "is_hard")):
        look = list(zip(buttons[name]["marker.color"][0], buttons[name]["marker.symbol"][0], strict=True))
        looks = {(value, *one) for value, one in zip(labels.labels(label).tolist(), look, strict=True)}
        assert len(looks) == len({value for value, *_ in looks}) == len({tuple(one) for _, *one in looks})


def test_a_record_of_other_data_or_of_a_failed_run_has_no_scene(record):
    other = {split: replace(one, task=one.task[::-1].copy()) for split, one in record.identities.items()}

    assert S.scenes([replace(record, failure="diverged")]) == {}
    assert S.scenes([]) == {}
    assert S.scenes([replace(record, identities=other)]) == {}
    for points in (np.full((5, 45, 3), np.nan), np.zeros((5, 45, 5))):
        scores = {split: replace(one, top_embedding=points) for split, one in record.scores.items()}
        assert S.scenes([replace(record, scores=scores)]) == {}


def test_an_epoch_with_all_points_in_one_place_is_drawn():
    assert np.isfinite(S.turned(np.stack([np.ones((5, 3)), np.arange(15.0).reshape(5, 3)]))).all()


def test_a_page_contains_scenes_and_their_library(record):
    scenes = scenes_of({"synthetic": [record]})

    assert len(scenes) == 4
    for caption, scene in scenes.items():
        assert "see clusters form" in caption or "layer by layer" in caption
        assert "<div" in scene
        assert "src=" not in scene
