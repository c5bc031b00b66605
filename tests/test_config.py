"""Defaults are the paper's numbers; invalid settings are refused; every field is part of the digest."""

import copy
import dataclasses
import json
import math
import typing

import pytest

from taskclust.config import (
    AlignmentConfig,
    ConfigError,
    DataConfig,
    ExperimentConfig,
    LanguageConfig,
    ModelConfig,
    PairedDataConfig,
    PretrainingConfig,
    ProbeConfig,
    RegexConfig,
    SwitchConfig,
    TrainingConfig,
    added,
    as_before,
    digest,
    to_dict,
)

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
    (RegexConfig, "families", ("star", "star"), {}),
    (RegexConfig, "quantified", "first", {}),
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
    (DataConfig, "small_languages", "drop", {}),
    (ModelConfig, "width", 100, {}),
    (ModelConfig, "width", 0, {}),
    (ModelConfig, "heads", 0, {"width": 64}),
    (ModelConfig, "feed_forward", 0, {}),
    (ModelConfig, "dropout", -0.1, {}),
    (ModelConfig, "dropout", 1.0, {}),
    (ModelConfig, "dropout", float("nan"), {}),
    (ModelConfig, "layers", 0, {}),
    (ModelConfig, "norm", "between", {}),
    (ModelConfig, "positions", "rotary", {}),
    (ModelConfig, "dropout_at", ("head",), {}),
    (ModelConfig, "dropout_at", ("branch", "branch"), {}),
    (TrainingConfig, "epochs", 0, {}),
    (TrainingConfig, "schedule_epochs", 199, {}),
    (ModelConfig, "width", 25, {"heads": 5, "positions": "sinusoidal"}),
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


KINDS = [
    RegexConfig, DataConfig, PairedDataConfig, ModelConfig, TrainingConfig, ProbeConfig, ExperimentConfig, SwitchConfig,
    LanguageConfig, PretrainingConfig, AlignmentConfig,
]  # fmt: skip
NUMBERS = [(kind, f.name, f.type) for kind in KINDS for f in dataclasses.fields(kind) if f.type in (int, float)]


@pytest.mark.parametrize(("kind", "name", "of"), NUMBERS, ids=[f"{k.__name__}-{n}" for k, n, _ in NUMBERS])
def test_every_number_has_a_lower_and_an_upper_bound_and_is_a_number(kind, name, of):
    low, high = kind.BOUNDS[name]
    for value in (low - 1, 2 * high + 1, 10**400, math.inf, -math.inf, math.nan, None, "3", True, [3], 3j):
        with pytest.raises(ConfigError, match=rf"^{name}="):
            kind(**{name: value})
    if of is int:
        with pytest.raises(ConfigError, match=rf"^{name}=.*: use a whole number"):
            kind(**{name: low + 0.5})


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_of_another_type_is_refused_by_its_name(kind):
    for field in dataclasses.fields(kind):
        if field.type in (bool, str) or typing.get_origin(field.type) in (typing.Literal, tuple):
            for value in (7, None, ["x"], (None,)):
                with pytest.raises(ConfigError, match=rf"^{field.name}="):
                    kind(**{field.name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value", "others"), WRONG, ids=[f"{k.__name__}-{n}-{v}" for k, n, v, _ in WRONG]
)
def test_an_invalid_setting_is_refused_by_name(kind, name, value, others):
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
    """The path of every plain field of a nested configuration."""
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


def parts(config, path=()):
    """The paths of a configuration and of each one nested in it."""
    yield path
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(getattr(config, field.name)):
            yield from parts(getattr(config, field.name), (*path, field.name))


def grown(config, path, **values):
    """A copy in which the configuration at ``path`` has a class with one more field."""
    if path:
        return dataclasses.replace(config, **{path[0]: grown(getattr(config, path[0]), path[1:], **values)})
    more = [("later", str, added("as before"))]
    kind = dataclasses.make_dataclass("Grown", more, bases=(type(config),), frozen=True, slots=True, kw_only=True)
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, **values)


WITH_PARTS = [
    pytest.param(config, path, id="-".join((type(config).__name__, *path)))
    for config in (ExperimentConfig(), PretrainingConfig(), AlignmentConfig(), LanguageConfig())
    for path in parts(config)
]


@pytest.mark.parametrize(("config", "path"), WITH_PARTS)
def test_an_added_field_changes_no_key_while_neutral(config, path):
    assert digest(grown(config, path)) == digest(config)


@pytest.mark.parametrize(("config", "path"), WITH_PARTS)
def test_an_added_field_changes_the_key_once_not_neutral(config, path):
    assert digest(grown(config, path, later="otherwise")) != digest(config)


def test_a_missing_added_field_has_its_neutral_value():
    kind = type(grown(ModelConfig(), ()))

    assert as_before(kind) == {**as_before(ModelConfig), "later": "as before"}
    assert ModelConfig(**as_before(ModelConfig)) == ModelConfig()


def test_digest_is_the_same_for_equal_configurations():
    first, second = (dataclasses.replace(ExperimentConfig(), seed=3) for _ in range(2))

    assert first is not second
    assert digest(first) == digest(second)


def test_digest_is_the_same_for_equal_numbers_of_another_type():
    first, second = ProbeConfig(perplexity=10), ProbeConfig(perplexity=10.0)

    assert first == second
    assert digest(first) == digest(second)


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_digest_distinguishes_which_part_has_a_value():
    assert digest(1, ModelConfig()) != digest(2, ModelConfig())
    assert digest("a", "b") != digest("b", "a")


def test_plain_form_is_json_and_keeps_every_field():
    config = ExperimentConfig()

    plain = to_dict(config)

    assert json.loads(json.dumps(plain)) == plain
    for path in paths(config):
        inner, value = plain, config
        for name in path:
            inner, value = inner[name], getattr(value, name)
        assert inner == (json.loads(json.dumps(value)))


@pytest.mark.parametrize(("width", "std"), [(768, 0.02), (256, 0.0346), (2048, 0.0122), (32, 0.098)])
def test_weights_scale_with_one_over_the_root_of_the_width(width, std):
    assert ModelConfig.norm_after(width).weight_std == pytest.approx(std, abs=5e-5)


def test_gpt2_is_what_its_name_says():
    model = ModelConfig.gpt2(256)

    assert (model.norm, model.positions, model.tied_head, model.scale_residual) == ("before", "learned", True, True)
    assert (model.token_std, model.weight_std, model.feed_forward) == (0.02, 0.02, 512)


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [(1, (0, 1)), (5, (0, 2, 5)), (7, (0, 2, 5, 7)), (200, TrainingConfig().checkpoints)],
    ids=["first", "at-a-checkpoint", "between", "all"],
)
def test_until_cuts_the_run_and_keeps_the_schedule(epochs, kept):
    cut = TrainingConfig().until(epochs)

    assert (cut.epochs, cut.checkpoints, cut.schedule_epochs) == (epochs, kept, 200)


def test_a_brief_training_is_a_whole_schedule():
    brief = TrainingConfig.brief(7, 1e-3, checkpoints=(0, 7))

    assert (brief.epochs, brief.schedule_epochs, brief.learning_rate, brief.checkpoints) == (7, 7, 1e-3, (0, 7))
    assert brief.precision == "float32"
    assert brief.weight_decay == TrainingConfig().weight_decay


@pytest.mark.parametrize("epochs", [0, -1, 201])
def test_until_refuses_epochs_outside_the_schedule(epochs):
    with pytest.raises(ConfigError, match=f"epochs={epochs}: use 1 to 200"):
        TrainingConfig().until(epochs)
