"""The paper's profile has the paper's values; a setting changes what it names; invalid settings are refused."""

import dataclasses
from dataclasses import replace

import pytest

from taskclust import experiments
from taskclust.config import FEED_FORWARD, ConfigError, LanguageConfig, ModelConfig, digest
from taskclust.profiles import changed, llm, paper, smoke, vary

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
    experiment = paper().base("synthetic")

    assert fields_of(experiment.data.regex, TABLE_4_REGEX) == TABLE_4_REGEX
    assert fields_of(experiment.data, TABLE_4) == TABLE_4
    assert fields_of(experiment.model, TABLE_5_MODEL) == TABLE_5_MODEL
    assert fields_of(experiment.training, TABLE_5_TRAINING) == TABLE_5_TRAINING
    assert fields_of(experiment.probe, TABLE_6) == TABLE_6


@pytest.mark.parametrize("width", FEED_FORWARD)
def test_paper_profile_differs_between_widths_only_where_the_paper_does(width):
    base, profile = paper().base("synthetic"), paper(width)
    experiment = profile.base("synthetic")

    assert profile.name == "paper"
    assert profile.seeds == (0, 1, 2, 3, 4)
    assert profile.width == experiment.model.width == width
    assert experiment.model.feed_forward == {32: 64, 256: 512, 768: 1024, 2048: 4096}[width]
    assert experiment.training.epochs == (500 if width == 32 else 200)
    assert experiment.data == base.data
    assert experiment.probe == base.probe


def test_a_width_the_paper_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ConfigError, match="width=64: the paper has 32, 256, 768, 2048"):
        paper(64)


def test_a_scale_has_the_experiments_that_are_defined_at_it():
    trained = {"synthetic", "paper_tables", "pretraining", "alignment"}

    assert smoke().bases.keys() == paper().bases.keys() == trained
    assert llm().bases.keys() == {"natural_language"}
    assert trained | {"natural_language"} == set(experiments.names())


@pytest.mark.parametrize("profile", [smoke(), paper(), paper(32)], ids=["smoke", "paper", "paper-32"])
def test_trainings_are_probed_before_and_after(profile):
    training = profile.base("synthetic").training

    assert training.checkpoints[0] == 0
    assert training.checkpoints[-1] == training.epochs


@pytest.mark.parametrize("experiment", ["synthetic", "paper_tables", "pretraining", "alignment"])
@pytest.mark.parametrize("profile", [smoke(), paper(), paper(256)], ids=["smoke", "paper", "paper-256"])
def test_profile_repeats_each_experiment_over_its_seeds(profile, experiment):
    (configs,) = profile.subjects(experiment)

    assert [c.seed for c in configs] == list(profile.seeds)
    assert {digest(dataclasses.replace(c, seed=0)) for c in configs} == {digest(profile.base(experiment))}


def test_an_experiment_that_a_scale_does_not_have_has_no_subjects():
    assert smoke().subjects("natural_language") == llm().subjects("synthetic") == []


def test_each_language_model_is_a_subject_of_one_seed():
    profile = llm("a/model", "b", n_expressions=3)

    assert profile.subjects("natural_language") == [
        [LanguageConfig(source=source, n_expressions=3)] for source in ("a/model", "b")
    ]
    assert llm().subjects("natural_language") == [[LanguageConfig()]]
    assert profile.scale("natural_language") == "llm"


def test_counts_use_the_papers_sizes_at_every_scale():
    assert smoke().base("paper_tables") == paper().base("paper_tables") == paper(32).base("paper_tables")
    assert smoke().base("paper_tables").data == paper().base("synthetic").data


@pytest.mark.parametrize("width", [32, 256, 768])
def test_section_4_has_one_model_of_width_256_tuned_in_one_way(width):
    pretraining, alignment = paper(width).base("pretraining"), paper(width).base("alignment")

    assert alignment.model == pretraining.model == ModelConfig.gpt2(256)
    assert alignment.training == pretraining.training


@pytest.mark.parametrize(
    ("profile", "experiment", "scale"),
    [
        (paper(768), "synthetic", "paper-768"),
        (paper(768), "paper_tables", "paper-768"),
        (paper(768), "alignment", "paper-256"),
        (paper(768), "pretraining", "paper-256"),
        (smoke(), "pretraining", "smoke"),
        (smoke(), "synthetic", "smoke"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_known_failures_are_listed_by_the_width_that_was_trained(profile, experiment, scale):
    assert profile.scale(experiment) == scale


def test_a_shortened_profile_shortens_only_longer_trainings():
    whole, cut = paper(256), paper(256).until(30)

    assert cut.base("synthetic").training == whole.base("synthetic").training.until(30)
    assert cut.base("pretraining").pretraining == whole.base("pretraining").pretraining  # 25 epochs
    assert cut.base("pretraining").training == whole.base("pretraining").training.until(30)
    assert cut.base("alignment").training == whole.base("alignment").training.until(30)
    assert cut.base("alignment").direct == whole.base("alignment").direct
    assert cut.base("paper_tables") == whole.base("paper_tables")
    assert cut.scale("synthetic") == whole.scale("synthetic")


def test_a_profile_stopped_at_its_own_last_epoch_is_whole():
    assert paper(256).until(200) == paper(256)


def test_changes_apply_to_experiments_that_take_them_and_have_the_field():
    settings = ["model=norm-after", "training.learning_rate=2e-4"]
    whole, profile = paper(256), paper(256).changed(settings)

    assert profile.changes == {
        "synthetic": ("model=norm-after", "training.learning_rate=0.0002"),
        **dict.fromkeys(("paper_tables", "pretraining", "alignment"), ("model=norm-after",)),
    }
    assert profile.base("synthetic") == changed(whole.base("synthetic"), settings)
    assert profile.base("paper_tables") == changed(whole.base("paper_tables"), settings[:1])
    assert profile.base("paper_tables").model == ModelConfig.norm_after(768)
    for name in ("pretraining", "alignment"):
        assert profile.base(name) == replace(whole.base(name), model=ModelConfig.norm_after(256))


@pytest.mark.parametrize(("profile", "own"), [(paper(256), "gpt2"), (paper(768), "gpt2")], ids=["256", "768"])
def test_the_model_that_the_profile_has_anyway_is_no_change(profile, own):
    same = profile.changed([f"model={own}", "training.learning_rate=2e-4"])

    assert profile.changed([f"model={own}"]) == profile
    assert same == profile.changed(["training.learning_rate=2e-4"])
    assert smoke().changed([f"model={own}"]).scale("synthetic") == f"smoke model={own}"


@pytest.mark.parametrize("last", ["gpt2", "norm-after", "tutorial"])
@pytest.mark.parametrize("first", ["gpt2", "norm-after", "tutorial"])
def test_of_several_whole_models_the_last_counts(first, last):
    both = paper(256).changed([f"model={first}", "model.dropout=0.1", f"model={last}"])

    assert both == paper(256).changed([f"model={last}", "model.dropout=0.1"])


def test_the_paper_profile_trains_plain_gpt2():
    for width in FEED_FORWARD:
        bases = paper(width).bases
        models = {name: bases[name][0].model for name in ("synthetic", "alignment", "pretraining", "paper_tables")}

        assert models.pop("synthetic") == ModelConfig.gpt2(width)
        assert models == {
            "alignment": ModelConfig.gpt2(256),
            "pretraining": ModelConfig.gpt2(256),
            "paper_tables": ModelConfig.gpt2(768),
        }


def test_a_change_that_no_experiment_takes_is_refused():
    with pytest.raises(ConfigError, match="modle='gpt2': there is no 'modle'; use data, model, training, probe, seed"):
        smoke().changed(["modle=gpt2"])
    with pytest.raises(ConfigError, match="there is no 'switch'"):
        paper().changed(["switch.kind=linear"])


def test_a_setting_changes_the_fields_it_names_and_no_other():
    start = paper().base("synthetic")

    by_value = vary(start, {"data.regex.max_repeats": 5, "model.norm": "after"})
    by_text = changed(start, ["data.regex.max_repeats=5", "model.norm=after"])

    assert by_value == by_text
    assert (by_text.data.regex.max_repeats, by_text.model.norm) == (5, "after")
    assert changed(by_text, ["data.regex.max_repeats=3", "model.norm=before"]) == start
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
def test_values_are_read_as_python_literals(text, value):
    part, name = text.split("=")[0].split(".")

    found = getattr(getattr(changed(paper().base("synthetic"), [text]), part), name)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "make"),
    [("gpt2", ModelConfig.gpt2), ("norm-after", ModelConfig.norm_after), ("tutorial", ModelConfig.tutorial)],
    ids=["gpt2", "norm-after", "tutorial"],
)
def test_a_whole_model_has_the_width_of_the_experiment(name, make):
    assert changed(paper(32).base("synthetic"), [f"model={name}"]).model == make(32)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.nrom=before", "model.nrom='before': there is no 'nrom'; use width, feed_forward, "),
        ("modle=gpt2", "modle='gpt2': there is no 'modle'; use data, model, training, probe, seed"),
        ("model.norm.x=1", "model.norm.x=1: there is no 'x'; use what is before its dot"),
        ("model.norm", "set='model.norm': write FIELD=VALUE, e.g. model.norm=after"),
        ("model=bert", "model='bert': use gpt2, norm-after, tutorial, or a field, e.g. model.norm=after"),
        ("model.norm=sideways", "norm='sideways': use one of before, after"),
        ("model.tied_head=1", "model.tied_head=1: use a value of type bool, like True"),
        ("training.epochs=1.5", "training.epochs=1.5: use a value of type int, like 200"),
        ("training.learning_rate=fast", "training.learning_rate='fast': use a value of type float, like 0.0001"),
        (
            "data.distribution_totals=(5, 6)",
            "distribution_totals=(5, 6): use a tuple, each part a pair: a whole number and a whole number",
        ),
        ("training=5", "training=5: use a value of type TrainingConfig"),
        ("training.learning_rate=-1", "learning_rate=-1.0: use 1e-38 to 1e+30"),
        ("training.learning_rate=1" + "0" * 400, "learning_rate=1" + "0" * 196 + "...: use a finite number"),
        pytest.param("model.norm=" + "-" * 5_000 + "1", "norm='---", id="deeper than Python reads"),
        ("seed=3", "set='seed=3': use --seeds"),
        ("model.width=64", "set='model.width=64': use --width"),
    ],
)
def test_an_invalid_setting_is_one_error(setting, message):
    with pytest.raises(ConfigError) as caught:
        changed(paper().base("synthetic"), [setting])

    assert str(caught.value).startswith(message)


def test_a_model_is_refused_where_there_is_none():
    with pytest.raises(ConfigError, match=r"^model='gpt2': there is no 'model'; use regex, n_tasks, "):
        changed(paper().base("synthetic").data, ["model=gpt2"])


def test_settings_are_applied_together_in_any_order():
    both = ["training.epochs=300", "training.schedule_epochs=300"]

    first, second = (paper().changed(order).base("synthetic") for order in (both, both[::-1]))
    model, other = (
        paper().changed(order)
        for order in (["model.norm=before", "model=norm-after"], ["model=norm-after", "model.norm=before"])
    )

    assert first == second
    assert first.training.epochs == 300
    assert model.base("synthetic") == other.base("synthetic")
    assert model.base("synthetic").model == replace(ModelConfig.norm_after(768), norm="before")
    assert model.scale("synthetic") == other.scale("synthetic")


@pytest.mark.parametrize("setting", ["model.norm=before", "training.learning_rate=1e-4", "probe.components=3"])
def test_a_value_that_the_profile_has_anyway_is_no_change(setting):
    assert paper(256).changed([setting]) == paper(256)


def test_a_change_of_training_is_none_of_an_experiment_without():
    profile = paper(256).changed(["training.learning_rate=3e-4", "training.loss_over=outputs"])

    assert profile.scale("paper_tables") == "paper-256"
    assert profile.scale("synthetic") == "paper-256 training.learning_rate=0.0003 training.loss_over=outputs"


@pytest.mark.parametrize("texts", [("3e-4", "0.0003"), ("1", "1.0")])
def test_one_value_in_two_spellings_is_one_scale(texts):
    first, second = (paper(256).changed([f"training.learning_rate={text}"]) for text in texts)

    assert first == second


def test_a_change_makes_another_scale_for_experiments_that_take_it():
    profile = paper(768).changed(["model.norm=before", "model=norm-after"])

    scales = {name: profile.scale(name) for name in profile.bases}

    assert scales == {
        "synthetic": "paper-768 model=norm-after model.norm=before",
        "paper_tables": "paper-768 model=norm-after model.norm=before",
        "pretraining": "paper-256 model=norm-after",
        "alignment": "paper-256 model=norm-after",
    }
