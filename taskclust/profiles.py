"""The scales at which the claims are judged, and changes to an experiment by the names of its fields."""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from taskclust.config import (
    FEED_FORWARD,
    AlignmentConfig,
    ConfigError,
    DataConfig,
    ExperimentConfig,
    IdentityDataConfig,
    LanguageConfig,
    ModelConfig,
    PairedDataConfig,
    PretrainingConfig,
    ProbeConfig,
    RegexConfig,
    SwitchConfig,
    TrainingConfig,
    require,
)


@dataclass(frozen=True, slots=True)
class Profile:
    """A named scale at which the claims are judged: experiments to repeat over ``seeds``."""

    name: Literal["smoke", "paper", "llm"]
    experiment: ExperimentConfig
    seeds: tuple[int, ...]
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    languages: tuple[LanguageConfig, ...] = ()
    changes: tuple[str, ...] = ()  # made in the experiment, as :func:`changed` reads them

    @property
    def width(self) -> int | None:
        """Of the models, where the profile has several to choose from."""
        return self.experiment.model.width if self.name == "paper" else None

    def scale(self, needs: str = "scores") -> str:
        """What a finding is known at: "smoke", "llm" or, of the paper's widths, e.g. "paper-768".

        Pre-training has a width of its own, and changes make another scale of the main experiment.
        """
        width = self.pretraining.model.width if needs == "pretraining" else self.width
        scale = self.name if self.width is None else f"{self.name}-{width}"
        return " ".join((scale, *self.changes)) if needs not in ("pretraining", "alignment") else scale

    def experiments(self) -> list[ExperimentConfig]:
        """One experiment a seed."""
        return [replace(self.experiment, seed=seed) for seed in self.seeds]

    def configs(self, needs: Literal["scores", "pretraining", "alignment"]) -> list[Any]:
        """What is run for one kind of record, one configuration a seed."""
        one = self.experiment if needs == "scores" else getattr(self, needs)
        return [replace(one, seed=seed) for seed in self.seeds]


def paper(width: int = 768) -> Profile:
    """The paper's scale (Tables 4 to 8) at ``width``; width 32 trains for 500 epochs (Figure 7).

    Table 5's training is that of the main experiment; §4's at width 256 are silent points.

    Raises:
        ConfigError: the paper has no such width.
    """
    require(width in FEED_FORWARD, "width", width, f"the paper has {', '.join(map(str, FEED_FORWARD))}")
    training = TrainingConfig()
    if width == 32:
        epochs = (0, 5, 10, 20, 30, 40, 50, 60, 80, 100, 125, 150, 175, 200, 250, 300, 350, 400, 450, 500)
        training = TrainingConfig(epochs=500, schedule_epochs=500, checkpoints=epochs)
    experiment = ExperimentConfig(model=ModelConfig.of_width(width), training=training)
    pretraining = PretrainingConfig()  # stays at 256 (§4.1)
    alignment = AlignmentConfig(model=ModelConfig.of_width(width))
    if width == pretraining.model.width:
        alignment = replace(alignment, training=pretraining.training)
    return Profile("paper", experiment, tuple(range(5)), pretraining, alignment)


def llm(*sources: str, **changes: Any) -> Profile:
    """The natural-language setting (§3.4) on each of ``sources``; ``changes`` are fields of LanguageConfig."""
    languages = tuple(LanguageConfig(source=source, **changes) for source in sources or ("",))
    return Profile("llm", ExperimentConfig(), (0,), languages=languages)


def smoke() -> Profile:
    """Minutes on two cores: a data set of the same shape, a model of width 64, truly trained. No reproduction.

    Chosen by trial, on the seeds it is run with too, as a small setting in which clusters form and order by layer. The
    head is tied: untied, this small model passes in 30 epochs through the window in which its tasks are merged. Seeds
    and starts of t-SNE are as many as keep a sound build green on any processor: reports/twins/twins.md says how often
    it would not be.
    """
    data = DataConfig(
        n_tasks=10,
        n_validation_tasks=8,
        n_subset_tasks=3,
        n_hard_tasks=3,
        n_task_symbols=12,
        distribution_totals=((3, 6), (5, 10), (2, 4)),
    )
    model = ModelConfig(width=64, feed_forward=128, layers=4, dropout=0.05, weight_std=0.07, tied_head=True)
    training = TrainingConfig(
        epochs=45,
        schedule_epochs=60,
        learning_rate=4e-3,
        batch_instructions=16,
        checkpoints=(0, 10, 20, 30, 45),
        precision="float32",
    )
    probe = ProbeConfig(iterations=500, tsne_restarts=4, kmeans_restarts=20, tsne_at="few")
    experiment = ExperimentConfig(data=data, model=model, training=training, probe=probe)
    return Profile("smoke", experiment, tuple(range(6)), _smoke_pretraining(probe), _smoke_alignment())


#: Short instructions of three groups: what a model of two layers learns in seconds.
_SHORT = RegexConfig(min_metacharacters=3, max_characters=5)


def _smoke_model(**changes: Any) -> ModelConfig:
    return ModelConfig(
        width=64, feed_forward=128, layers=2, heads=4, dropout=0.1, token_std=0.5, weight_std=0.07, **changes
    )


def _brief(epochs: int, learning_rate: float, checkpoints: tuple[int, ...] = (0,)) -> TrainingConfig:
    return TrainingConfig(
        epochs=epochs,
        schedule_epochs=epochs,
        learning_rate=learning_rate,
        checkpoints=checkpoints,
        precision="float32",
    )


def _smoke_pretraining(probe: ProbeConfig) -> PretrainingConfig:
    data = IdentityDataConfig(
        regex=_SHORT,
        n_tasks=8,
        n_validation_tasks=8,
        n_subset_tasks=2,
        n_hard_tasks=0,
        n_task_symbols=12,
        distribution_totals=((3, 9), (5, 15)),
    )
    return PretrainingConfig(
        data=data,
        model=_smoke_model(tied_head=True),
        pretraining=_brief(32, 4e-3, (0, 16, 32)),
        training=_brief(10, 4e-3),
        probe=probe,
    )


def _smoke_alignment() -> AlignmentConfig:
    data = PairedDataConfig(
        regex=_SHORT,
        n_tasks=20,
        n_pairs=2,
        n_subset_tasks=2,
        n_mappings=3,
        n_task_symbols=24,
        distribution_totals=((2, 4), (2, 4), (16, 22)),
    )
    return AlignmentConfig(
        data=data,
        model=_smoke_model(),
        training=_brief(25, 4e-3),
        direct=_brief(20, 1e-3),
        head=_brief(20, 1e-2),
        switch=SwitchConfig(epochs=40, learning_rate=1e-2, head_epochs=40, head_learning_rate=1e-2),
    )


def vary(config: Any, changes: Mapping[str, Any]) -> Any:
    """``config`` with dotted fields replaced, e.g. ``{"model.norm": "before"}``.

    Raises:
        ConfigError: there is no such field, its value is of another type, or the setting cannot be.
    """
    for path, value in changes.items():
        config = _replaced(config, path.split("."), value, path)
    return config


def _replaced(config: Any, names: list[str], value: Any, path: str) -> Any:
    name, *rest = names
    known = [f.name for f in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []
    require(name in known, path, value, f"there is no {name!r}; use {', '.join(known) or 'what is before its dot'}")
    old = getattr(config, name)
    if rest:
        return replace(config, **{name: _replaced(old, rest, value, path)})
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    kind = type(old).__name__
    require(type(value) is type(old), path, value, f"use a value of type {kind}, as {old!r}")
    try:
        return replace(config, **{name: value})
    except TypeError as error:  # of what a tuple holds
        raise ConfigError(f"{path}={value!r}: use a value like {old!r}") from error


def changed(experiment: ExperimentConfig, settings: Sequence[str]) -> ExperimentConfig:
    """``experiment`` with settings written as text: "model.norm=before", or a whole model, "model=gpt2".

    Values are Python's: 3e-4, True, (1, 2); what is none is a word.

    Raises:
        ConfigError: as :func:`vary`; or it is the seed or the width, which have options of their own.
    """
    whole = {"gpt2": ModelConfig.gpt2, "tutorial": ModelConfig.tutorial}
    options = {"seed": "--seeds", "model.width": "--width"}
    for setting in settings:
        path, _, text = setting.partition("=")
        require(bool(text), "set", setting, "write FIELD=VALUE, e.g. model.norm=before")
        require(path not in options, "set", setting, f"use {options.get(path)}")
        if path == "model":
            require(text in whole, path, text, f"use {' or '.join(whole)}, or a field, e.g. model.norm=before")
            experiment = replace(experiment, model=whole[text](experiment.model.width))
        else:
            experiment = vary(experiment, {path: _read(text)})
    return experiment


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
