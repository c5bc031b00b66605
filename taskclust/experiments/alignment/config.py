"""The configuration of §4.2 at each scale."""

from dataclasses import replace

from taskclust.config import (
    AlignmentConfig,
    ExperimentConfig,
    ModelConfig,
    PairedDataConfig,
    PretrainingConfig,
    RegexConfig,
    SwitchConfig,
    TrainingConfig,
)


def smoke() -> AlignmentConfig:
    """Short instructions of three groups, and a model of two layers that learns them in seconds."""
    data = PairedDataConfig(
        regex=RegexConfig(min_metacharacters=3, max_characters=5),
        n_tasks=20,
        n_pairs=2,
        n_subset_tasks=2,
        n_mappings=3,
        n_task_symbols=24,
        distribution_totals=((2, 4), (2, 4), (16, 22)),
    )
    return AlignmentConfig(
        data=data,
        model=ModelConfig(width=64, feed_forward=128, layers=2, heads=4, dropout=0.1, token_std=0.5, weight_std=0.07),
        training=TrainingConfig.brief(25, 4e-3),
        direct=TrainingConfig.brief(20, 1e-3),
        head=TrainingConfig.brief(20, 1e-2),
        switch=SwitchConfig(epochs=40, learning_rate=1e-2, head_epochs=40, head_learning_rate=1e-2),
    )


def paper(width: int) -> AlignmentConfig:
    """Table 7 at ``width``; at 256 the base is trained as §4.1's models are tuned."""
    config = AlignmentConfig(model=ModelConfig.of_width(width))
    other = PretrainingConfig()
    return replace(config, training=other.training) if width == other.model.width else config


def until(config: AlignmentConfig, epochs: int) -> AlignmentConfig:
    """The same with a base trained for no more than ``epochs``."""
    return replace(config, training=config.training.until(min(epochs, config.training.schedule_epochs)))


def stages(config: AlignmentConfig) -> list[ExperimentConfig]:
    """The training that takes the time; fine-tuning does not."""
    return [config.stage("training")]


def trainings(config: AlignmentConfig) -> list[ExperimentConfig]:
    """The training runs, kept as records of their own, that it rests on: the base's."""
    return [config.stage("training")]
