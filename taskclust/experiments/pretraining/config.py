"""The configuration of the pre-training experiment (§4.1) at each scale; at the paper's, its width is always 256."""

from dataclasses import replace

from taskclust.config import (
    ARMS,
    ExperimentConfig,
    IdentityDataConfig,
    ModelConfig,
    PretrainingConfig,
    ProbeConfig,
    RegexConfig,
    TrainingConfig,
)

#: What ``--set`` changes in this experiment.
TAKES_CHANGES = "model"


def smoke() -> PretrainingConfig:
    """The configuration at smoke scale: short instructions of three groups, learned by two layers in seconds."""
    data = IdentityDataConfig(
        regex=RegexConfig(min_metacharacters=3, max_characters=5),
        n_tasks=8,
        n_validation_tasks=8,
        n_subset_tasks=2,
        n_hard_tasks=0,
        n_task_symbols=12,
        distribution_totals=((3, 9), (5, 15)),
    )
    return PretrainingConfig(
        data=data,
        model=ModelConfig.norm_after(
            64, layers=2, heads=4, dropout=0.1, token_std=0.5, weight_std=0.07, tied_head=True
        ),
        pretraining=TrainingConfig.brief(32, 4e-3, checkpoints=(0, 16, 32)),
        training=TrainingConfig.brief(10, 4e-3),
        probe=ProbeConfig(iterations=500, tsne_restarts=4, kmeans_restarts=20, tsne_at="few"),
    )


def paper(width: int) -> PretrainingConfig:  # noqa: ARG001 - the paper has only one
    """The paper's configuration, "a smaller model with a hidden dimension of 256", whatever ``width`` is."""
    return PretrainingConfig()


def until(config: PretrainingConfig, epochs: int) -> PretrainingConfig:
    """The configuration with each stage at most ``epochs`` epochs long."""
    return replace(
        config,
        pretraining=config.pretraining.until(min(epochs, config.pretraining.schedule_epochs)),
        training=config.training.until(min(epochs, config.training.schedule_epochs)),
    )


def stages(config: PretrainingConfig) -> list[ExperimentConfig]:
    """The trainings that take the time: every arm is tuned, and all arms but one are pre-trained."""
    return [config.stage("training")] * len(ARMS) + [config.stage("pretraining")] * (len(ARMS) - 1)
