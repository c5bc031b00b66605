"""A main experiment that takes seconds, and functions to compare its records."""

import dataclasses
from dataclasses import replace

from taskclust.config import DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, RegexConfig, TrainingConfig
from taskclust.runner import Runner
from taskclust.store import encode

DATA = DataConfig(
    regex=RegexConfig(n_symbols=12, max_characters=4, max_length=20),
    n_tasks=4,
    n_mappings=3,
    n_validation_tasks=3,
    n_subset_tasks=2,
    n_hard_tasks=2,
    n_task_symbols=6,
    distribution_totals=((2, 3), (2, 3)),
)
LAYERS = 2
EPOCHS = 8
CONFIG = ExperimentConfig(
    data=DATA,
    model=ModelConfig.norm_after(16, layers=LAYERS, heads=4, norm="before", token_std=0.5, weight_std=0.3),
    training=TrainingConfig(
        epochs=EPOCHS,
        schedule_epochs=EPOCHS,
        learning_rate=1e-2,
        batch_instructions=8,
        checkpoints=(0, 1, 2, EPOCHS),
        precision="float32",
    ),
    probe=ProbeConfig(perplexity=5, iterations=20, tsne_restarts=2, kmeans_restarts=3, neighbors=5),
    seed=3,  # the best epoch is not among the checkpoints
)
LONG = replace(CONFIG, training=replace(CONFIG.training, epochs=40, schedule_epochs=40, checkpoints=(0, 3, 40)))


def measured(record):
    """A record's content, to the bit, without when and where it was made."""
    made = {"seconds": {}, "provenance": {}, "training_provenance": None}
    known = {field.name for field in dataclasses.fields(record)}
    return encode(replace(record, **{name: value for name, value in made.items() if name in known}))


def folder(store, kind, config=CONFIG):
    """The folder in the store for the record of that kind and ``config``."""
    return store.path(kind, Runner(store).key(kind, config))


def truncate(path):
    """Remove the last byte of a file."""
    path.write_bytes(path.read_bytes()[:-1])


#: Instructions and a model for the two applications, so that they learn something in a few epochs.
SHORT = RegexConfig(min_metacharacters=3, max_characters=5)
MODEL = ModelConfig.norm_after(16, layers=2, heads=2, weight_std=0.1, token_std=0.5, norm="before")


def training(epochs, **changes):
    """A whole schedule of few epochs."""
    settings = {"learning_rate": 1e-2, "batch_instructions": 8, "checkpoints": (0,), "precision": "float32"}
    return TrainingConfig(epochs=epochs, schedule_epochs=epochs, **{**settings, **changes})
