"""Figures of language models from hand-made records."""

import pytest

from taskclust.experiments.natural_language.figures import figures
from tests.language_records import language_record


@pytest.fixture(scope="module")
def made():
    return figures([language_record(), language_record(name="b-model")])


def test_every_model_has_its_layers_and_its_picture(made):
    assert set(made) == {
        f"language-{kind}-{name}" for kind in ("layers", "clusters") for name in ("a-model", "b-model")
    }


def test_layers_have_one_panel_per_label_with_f1_after_tsne(made):
    axes = made["language-layers-a-model"].axes

    assert [axis.get_title() for axis in axes] == [
        "Task identity",
        "Distribution identity",
        "Distribution-mapping identity",
    ]
    assert axes[0].get_lines()[0].get_ydata().tolist() == [0.3, 0.97, 0.9]


def test_picture_is_colored_by_category_and_by_task(made):
    axes = made["language-clusters-a-model"].axes

    assert [axis.get_title() for axis in axes] == ["by category", "by task"]
    assert [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes] == [
        ["Translation", "Knowledge"],
        ["French", "Capital", "Religion"],
    ]


def test_without_models_there_are_no_figures():
    assert figures([]) == {}
