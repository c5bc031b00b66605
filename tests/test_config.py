"""The numbers of the paper stand in the defaults; what cannot be is refused; every field is part of the digest."""

import copy
import dataclasses
import json

import pytest

from taskclust.config import (
    FEED_FORWARD,
    ConfigError,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    ProbeConfig,
    RegexConfig,
    SwitchConfig,
    TrainingConfig,
    changed,
    digest,
    paper,
    smoke,
    to_dict,
    vary,
)

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

WRONG = [
    (SwitchConfig, "kind", "cubic", {}),
    (SwitchConfig, "loss_at", "input", {}),
    (SwitchConfig, "epochs", 0, {}),
    (SwitchConfig, "head_epochs", 0, {}),
    (SwitchConfig, "batch_instances", 0, {}),
    (SwitchConfig, "learning_rate", 0.0, {}),
    (SwitchConfig, "head_learning_rate", -1.0, {}),
    (RegexConfig, "n_symbols", 0, {}),
    (RegexConfig, "n_symbols", 63, {}),
    (RegexConfig, "min_metacharacters", 0, {}),
    (RegexConfig, "min_metacharacters", 4, {}),
    (RegexConfig, "min_characters", 0, {}),
    (RegexConfig, "min_characters", 11, {}),
    (RegexConfig, "max_characters", 36, {}),
    (RegexConfig, "min_length", 0, {}),
    (RegexConfig, "min_length", 41, {}),
    (RegexConfig, "max_repeats", 0, {}),
    (RegexConfig, "families", (), {}),
    (DataConfig, "min_distributions", 0, {}),
    (DataConfig, "min_distributions", 7, {}),
    (DataConfig, "n_mappings", 0, {}),
    (DataConfig, "n_mappings", 26, {}),
    (DataConfig, "n_task_symbols", 16, {}),
    (DataConfig, "n_hard_tasks", -1, {}),
    (DataConfig, "n_hard_tasks", 51, {}),
    (DataConfig, "n_validation_tasks", 51, {}),
    (DataConfig, "n_subset_tasks", -1, {}),
    (DataConfig, "n_instructions", 5, {}),
    (DataConfig, "distribution_totals", ((49, 150),), {}),
    (DataConfig, "distribution_totals", ((50, 301),), {}),
    (DataConfig, "distribution_totals", ((50, 49),), {}),
    (DataConfig, "hard_replacement", "word", {}),
    (ModelConfig, "width", 100, {}),
    (ModelConfig, "width", 0, {}),
    (ModelConfig, "width", 64, {"heads": 0}),
    (ModelConfig, "feed_forward", 0, {}),
    (ModelConfig, "dropout", -0.1, {}),
    (ModelConfig, "dropout", 1.0, {}),
    (ModelConfig, "dropout", float("nan"), {}),
    (ModelConfig, "layers", 0, {}),
    (ModelConfig, "norm", "between", {}),
    (ModelConfig, "positions", "rotary", {}),
    (ModelConfig, "dropout_at", ("head",), {}),
    (TrainingConfig, "epochs", 0, {}),
    (TrainingConfig, "schedule_epochs", 199, {}),
    (TrainingConfig, "learning_rate", 0.0, {}),
    (TrainingConfig, "learning_rate", float("nan"), {}),
    (TrainingConfig, "batch_instructions", 0, {}),
    (TrainingConfig, "max_gradient_norm", 0.0, {}),
    (TrainingConfig, "checkpoints", (5, 0), {}),
    (TrainingConfig, "checkpoints", (0, 0), {}),
    (TrainingConfig, "checkpoints", (-1,), {}),
    (TrainingConfig, "checkpoints", (201,), {}),
    (TrainingConfig, "precision", "float16", {}),
    (TrainingConfig, "loss_mean", "instances", {}),
    (TrainingConfig, "warmup_epochs", -1, {}),
    (TrainingConfig, "warmup_epochs", 200, {}),
    (ProbeConfig, "perplexity", 1.0, {}),
    (ProbeConfig, "components", 0, {}),
    (ProbeConfig, "iterations", 0, {}),
    (ProbeConfig, "tsne_restarts", 0, {}),
    (ProbeConfig, "kmeans_restarts", 0, {}),
    (ProbeConfig, "neighbors", 0, {}),
    (ProbeConfig, "degrees_of_freedom", 0.0, {}),
    (ProbeConfig, "tsne_at", "sometimes", {}),
    (ExperimentConfig, "seed", -1, {}),
]


@pytest.mark.parametrize(
    ("kind", "name", "value", "others"), WRONG, ids=[f"{k.__name__}-{n}-{v}" for k, n, v, _ in WRONG]
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(kind, name, value, others):
    with pytest.raises(ConfigError, match=rf"^{name}=.+: \S+"):
        kind(**{name: value, **others})


def test_a_misspelt_field_is_an_error():
    with pytest.raises(TypeError, match="widht"):
        ModelConfig(widht=768)


@pytest.mark.parametrize("kind", [RegexConfig, DataConfig, ModelConfig, TrainingConfig, ProbeConfig, ExperimentConfig])
def test_a_configuration_is_frozen(kind):
    config = kind()
    name = dataclasses.fields(config)[0].name

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, None)


def other_value(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}-other"
    if isinstance(value, tuple):
        return (*value, value[-1])
    return value + 1


def altered(config, path):
    """A copy with the field at ``path`` changed, unvalidated."""
    name, *rest = path
    copied = copy.copy(config)
    value = getattr(config, name)
    object.__setattr__(copied, name, altered(value, rest) if rest else other_value(value))
    return copied


def paths(config):
    """The way to every plain field of a nested configuration."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((field.name, *rest) for rest in paths(value))
        else:
            yield (field.name,)


@pytest.mark.parametrize("path", list(paths(ExperimentConfig())), ids=".".join)
def test_digest_changes_with_every_field(path):
    config = ExperimentConfig()

    assert digest(altered(config, path)) != digest(config)


def test_digest_is_the_same_for_equal_configurations():
    first, second = (dataclasses.replace(smoke().experiment, seed=3) for _ in range(2))

    assert first is not second
    assert digest(first) == digest(second)


def test_digest_is_the_same_for_equal_numbers_of_another_type():
    first, second = ProbeConfig(perplexity=10), ProbeConfig(perplexity=10.0)

    assert first == second
    assert digest(first) == digest(second)


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_digest_tells_apart_which_part_has_a_value():
    assert digest(1, ModelConfig()) != digest(2, ModelConfig())
    assert digest("a", "b") != digest("b", "a")


def test_plain_form_is_json_and_keeps_every_field():
    config = paper().experiment

    plain = to_dict(config)

    assert json.loads(json.dumps(plain)) == plain
    for path in paths(config):
        inner, value = plain, config
        for name in path:
            inner, value = inner[name], getattr(value, name)
        assert inner == (json.loads(json.dumps(value)))


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


@pytest.mark.parametrize(("width", "std"), [(768, 0.02), (256, 0.0346), (2048, 0.0122), (32, 0.098)])
def test_weights_scale_with_one_over_the_root_of_the_width(width, std):
    assert ModelConfig.of_width(width).weight_std == pytest.approx(std, abs=5e-5)


def test_a_width_the_paper_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ConfigError, match="width=64: the paper has 32, 256, 768, 2048"):
        paper(64)


def test_gpt2_is_what_its_name_says():
    model = ModelConfig.gpt2(256)

    assert (model.norm, model.positions, model.tied_head, model.scale_residual) == ("before", "learned", True, True)
    assert (model.token_std, model.weight_std, model.feed_forward) == (0.02, 0.02, 512)


@pytest.mark.parametrize("profile", [smoke(), paper(), paper(32)], ids=["smoke", "paper", "paper-32"])
def test_profile_repeats_one_experiment_over_its_seeds(profile):
    experiments = profile.experiments()

    assert [e.seed for e in experiments] == list(profile.seeds)
    assert {digest(dataclasses.replace(e, seed=0)) for e in experiments} == {digest(profile.experiment)}
    assert profile.experiment.training.checkpoints[0] == 0
    assert profile.experiment.training.checkpoints[-1] == profile.experiment.training.epochs


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [(1, (0, 1)), (5, (0, 2, 5)), (7, (0, 2, 5, 7)), (200, TrainingConfig().checkpoints)],
    ids=["first", "at-a-checkpoint", "between", "all"],
)
def test_until_cuts_the_run_and_keeps_the_schedule(epochs, kept):
    cut = TrainingConfig().until(epochs)

    assert (cut.epochs, cut.checkpoints, cut.schedule_epochs) == (epochs, kept, 200)


@pytest.mark.parametrize("epochs", [0, -1, 201])
def test_until_refuses_epochs_outside_the_schedule(epochs):
    with pytest.raises(ConfigError, match=f"epochs={epochs}: use 1 to 200"):
        TrainingConfig().until(epochs)


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
