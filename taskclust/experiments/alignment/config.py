"""The configuration of the alignment experiment (§4.2) at each scale."""

from dataclasses import replace

from taskclust.config import (
    AlignmentConfig,
    ExperimentConfig,
    ModelConfig,
    PairedDataConfig,
    RegexConfig,
    SwitchConfig,
    TrainingConfig,
)

#: What ``--set`` changes in this experiment.
TAKES_CHANGES = "model"


def smoke() -> AlignmentConfig:
    """The configuration at smoke scale: short instructions of three groups, learned by two layers in seconds."""
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
        model=ModelConfig.norm_after(64, layers=2, heads=4, dropout=0.1, token_std=0.5, weight_std=0.07),
        training=TrainingConfig.brief(25, 4e-3),
        direct=TrainingConfig.brief(20, 1e-3),
        head=TrainingConfig.brief(20, 1e-2),
        switch=SwitchConfig(epochs=40, learning_rate=1e-2, head_epochs=40, head_learning_rate=1e-2),
    )


def paper(width: int) -> AlignmentConfig:  # noqa: ARG001 - §4 has only one
    """The configuration of Table 7, of §4.1's model tuned as there, whatever ``width`` is."""
    return AlignmentConfig()


def until(config: AlignmentConfig, epochs: int) -> AlignmentConfig:
    """The configuration with the base model trained for at most ``epochs`` epochs."""
    return replace(config, training=config.training.until(min(epochs, config.training.schedule_epochs)))


def stages(config: AlignmentConfig) -> list[ExperimentConfig]:
    """The trainings that take the time: only the base model's, as fine-tuning is short."""
    return [config.stage("training")]


def trainings(config: AlignmentConfig) -> list[ExperimentConfig]:
    """The training runs that the record depends on, stored as records of their own: only the base model's."""
    return [config.stage("training")]
