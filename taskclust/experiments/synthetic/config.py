"""The main experiment's configuration at each scale (§3.1 to §3.3, Tables 4 to 6)."""

from dataclasses import replace

from taskclust.config import DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, TrainingConfig

#: What ``--set`` changes in this experiment.
TAKES_CHANGES = "all"


def smoke() -> ExperimentConfig:
    """The configuration at smoke scale: data of the same form, and a model of width 64 that is trained in earnest.

    Its norm is after each branch. It was chosen by trial as a small setting in which clusters form and improve with the
    layer. The trials included the seeds that it is run with. The head is tied: with an untied head this small model
    passes, within 30 epochs, through the window in which its tasks are merged. The numbers of seeds and of t-SNE starts
    are large enough that a correct build passes on any processor; reports/twins/twins.md says how often it would not.
    """
    data = DataConfig(
        n_tasks=10,
        n_validation_tasks=8,
        n_subset_tasks=3,
        n_hard_tasks=3,
        n_task_symbols=12,
        distribution_totals=((3, 6), (5, 10), (2, 4)),
    )
    model = ModelConfig.norm_after(64, layers=4, dropout=0.05, weight_std=0.07, tied_head=True)
    training = TrainingConfig(
        epochs=45,
        schedule_epochs=60,
        learning_rate=4e-3,
        batch_instructions=16,
        checkpoints=(0, 10, 20, 30, 45),
        precision="float32",
    )
    probe = ProbeConfig(iterations=500, tsne_restarts=4, kmeans_restarts=20, tsne_at="few")
    return ExperimentConfig(data=data, model=model, training=training, probe=probe)


def paper(width: int) -> ExperimentConfig:
    """The paper's configuration (Tables 4 to 6) at ``width``; at width 32 it trains for 500 epochs (Figure 7)."""
    training = TrainingConfig()
    if width == 32:
        epochs = (0, 5, 10, 20, 30, 40, 50, 60, 80, 100, 125, 150, 175, 200, 250, 300, 350, 400, 450, 500)
        training = TrainingConfig(epochs=500, schedule_epochs=500, checkpoints=epochs)
    return ExperimentConfig(model=ModelConfig.gpt2(width), training=training)


def until(config: ExperimentConfig, epochs: int) -> ExperimentConfig:
    """The configuration with training stopped after ``epochs`` epochs of its schedule."""
    return replace(config, training=config.training.until(epochs))


def stages(config: ExperimentConfig) -> list[ExperimentConfig]:
    """The trainings that take the time: the only one."""
    return [config]


def trainings(config: ExperimentConfig) -> list[ExperimentConfig]:
    """The training runs that the record depends on, stored as records of their own: the only one."""
    return [config]
