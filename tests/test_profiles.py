"""The paper's profile has the paper's values; a setting changes what it names; what cannot be is refused."""

import dataclasses

import pytest

from taskclust.config import FEED_FORWARD, ConfigError, ModelConfig, digest
from taskclust.profiles import changed, paper, smoke, vary

TABLE_4_REGEX = {
    "n_symbols": 35,
    "min_metacharacters": 1,
    "max_metacharacters": 3,
    "min_characters": 3,
    "max_characters": 10,
}
TABLE_4 = {
    "n_tasks": 50,
    "min_distributions": 1,
    "max_distributions": 6,
    "n_instructions": 10,
    "n_mappings": 5,
    "n_subset_tasks": 5,
    "n_validation_tasks": 10,
    "n_validation_instructions": 3,
    "n_hard_tasks": 5,
    "n_hard_instructions": 3,
    "n_task_symbols": 25,
}
TABLE_5_MODEL = {"width": 768, "feed_forward": 1024, "layers": 6, "heads": 8, "dropout": 0.2}
TABLE_5_TRAINING = {"epochs": 200, "learning_rate": 1e-4, "max_gradient_norm": 1.0, "schedule_epochs": 200}
TABLE_6 = {"components": 3, "perplexity": 10.0, "iterations": 2_000}


def fields_of(config, names):
    return {name: getattr(config, name) for name in names}


def test_paper_profile_has_the_values_of_tables_4_5_and_6():
    experiment = paper().experiment

    assert fields_of(experiment.data.regex, TABLE_4_REGEX) == TABLE_4_REGEX
    assert fields_of(experiment.data, TABLE_4) == TABLE_4
    assert fields_of(experiment.model, TABLE_5_MODEL) == TABLE_5_MODEL
    assert fields_of(experiment.training, TABLE_5_TRAINING) == TABLE_5_TRAINING
    assert fields_of(experiment.probe, TABLE_6) == TABLE_6


@pytest.mark.parametrize("width", FEED_FORWARD)
def test_paper_profile_differs_between_widths_only_where_the_paper_does(width):
    base, profile = paper(), paper(width)

    assert profile.name == "paper"
    assert profile.seeds == (0, 1, 2, 3, 4)
    assert profile.experiment.model.width == width
    assert profile.experiment.model.feed_forward == {32: 64, 256: 512, 768: 1024, 2048: 4096}[width]
    assert profile.experiment.training.epochs == (500 if width == 32 else 200)
    assert profile.experiment.data == base.experiment.data
    assert profile.experiment.probe == base.experiment.probe


def test_a_width_the_paper_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ConfigError, match="width=64: the paper has 32, 256, 768, 2048"):
        paper(64)


@pytest.mark.parametrize("profile", [smoke(), paper(), paper(32)], ids=["smoke", "paper", "paper-32"])
def test_profile_repeats_one_experiment_over_its_seeds(profile):
    experiments = profile.experiments()

    assert [e.seed for e in experiments] == list(profile.seeds)
    assert {digest(dataclasses.replace(e, seed=0)) for e in experiments} == {digest(profile.experiment)}
    assert profile.experiment.training.checkpoints[0] == 0
    assert profile.experiment.training.checkpoints[-1] == profile.experiment.training.epochs


@pytest.mark.parametrize("kind", ["scores", "pretraining", "alignment"])
@pytest.mark.parametrize("profile", [smoke(), paper(), paper(256)], ids=["smoke", "paper", "paper-256"])
def test_profile_repeats_each_kind_of_run_over_its_seeds(profile, kind):
    configs = profile.configs(kind)

    assert [c.seed for c in configs] == list(profile.seeds)
    assert len({digest(dataclasses.replace(c, seed=0)) for c in configs}) == 1


def test_pretraining_is_of_width_256_whatever_the_width_and_alignment_of_the_width():
    assert {paper(width).pretraining.model.width for width in (32, 256, 768)} == {256}
    assert [paper(width).alignment.model.width for width in (256, 768)] == [256, 768]


def test_base_of_the_alignment_trains_by_table_5_but_at_width_256_as_pretraining_tunes():
    assert fields_of(paper(768).alignment.training, TABLE_5_TRAINING) == TABLE_5_TRAINING
    assert paper(256).alignment.training == paper(256).pretraining.training


@pytest.mark.parametrize(
    ("profile", "needs", "scale"),
    [
        (paper(768), "scores", "paper-768"),
        (paper(768), "alignment", "paper-768"),
        (paper(768), "pretraining", "paper-256"),
        (smoke(), "pretraining", "smoke"),
    ],
)
def test_finding_stands_at_the_width_of_what_was_trained(profile, needs, scale):
    assert profile.scale(needs) == scale


def test_a_setting_changes_the_fields_it_names_and_no_other():
    start = paper().experiment

    by_value = vary(start, {"data.regex.max_repeats": 5, "model.norm": "before"})
    by_text = changed(start, ["data.regex.max_repeats=5", "model.norm=before"])

    assert by_value == by_text
    assert (by_text.data.regex.max_repeats, by_text.model.norm) == (5, "before")
    assert changed(by_text, ["data.regex.max_repeats=3", "model.norm=after"]) == start
    assert changed(start, []) == start


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model.tied_head=True", True),
        ("training.weight_decay=1", 1.0),
        ("training.learning_rate=3e-4", 3e-4),
        ("model.dropout_at=('branch',)", ("branch",)),
        ("training.loss_mean=sequences", "sequences"),
        ("data.distribution_totals=()", ()),
    ],
)
def test_values_are_read_as_pythons(text, value):
    part, name = text.split("=")[0].split(".")

    found = getattr(getattr(changed(paper().experiment, [text]), part), name)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["gpt2", "tutorial"])
def test_a_whole_model_has_the_width_of_the_experiment(name):
    assert changed(paper(32).experiment, [f"model={name}"]).model == getattr(ModelConfig, name)(32)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.nrom=before", "model.nrom='before': there is no 'nrom'; use width, feed_forward, "),
        ("modle=gpt2", "modle='gpt2': there is no 'modle'; use data, model, training, probe, seed"),
        ("model.norm.x=1", "model.norm.x=1: there is no 'x'; use what is before its dot"),
        ("model.norm", "set='model.norm': write FIELD=VALUE, e.g. model.norm=before"),
        ("model=bert", "model='bert': use gpt2 or tutorial, or a field, e.g. model.norm=before"),
        ("model.norm=sideways", "norm='sideways': use one of before, after"),
        ("model.tied_head=1", "model.tied_head=1: use a value of type bool, as False"),
        ("training.epochs=1.5", "training.epochs=1.5: use a value of type int, as 200"),
        ("training.learning_rate=fast", "training.learning_rate='fast': use a value of type float, as 0.0001"),
        ("data.distribution_totals=(5, 6)", "data.distribution_totals=(5, 6): use a value like ((5, 6), (5, 15), "),
        ("training=5", "training=5: use a value of type TrainingConfig"),
        ("training.learning_rate=-1", "learning_rate=-1.0: use a positive rate"),
        ("seed=3", "set='seed=3': use --seeds"),
        ("model.width=64", "set='model.width=64': use --width"),
    ],
)
def test_a_setting_that_cannot_be_is_one_error(setting, message):
    with pytest.raises(ConfigError) as caught:
        changed(paper().experiment, [setting])

    assert str(caught.value).startswith(message)


def test_a_change_makes_another_scale_of_the_main_experiment_alone():
    profile = dataclasses.replace(paper(256), changes=("model=gpt2", "model.norm=after"))

    scales = {needs: profile.scale(needs) for needs in ("scores", "dataset", "pretraining", "alignment")}

    changed_scale = "paper-256 model=gpt2 model.norm=after"
    assert scales == {
        "scores": changed_scale, "dataset": changed_scale, "pretraining": "paper-256", "alignment": "paper-256",
    }  # fmt: skip
