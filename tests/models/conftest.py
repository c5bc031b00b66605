"""A training small enough to run many times in a test."""

import pytest
import torch

from taskclust.config import ExperimentConfig, ModelConfig, TrainingConfig
from taskclust.data import generate
from tests.helpers import tiny_data


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small products are slower on several threads, and much slower on busy ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def dataset():
    return generate(tiny_data(), seed=0)


@pytest.fixture(scope="session")
def experiment():
    """A tiny experiment with float32 weights; keyword arguments change its training, ``model`` its model."""

    def make(seed=0, model=None, **training):
        settings = {"epochs": 4, "schedule_epochs": 4, "learning_rate": 3e-3, "batch_instructions": 8}
        sizes = {"width": 16, "feed_forward": 32, "layers": 2, "heads": 2, "norm": "before", "weight_std": 0.1}
        return ExperimentConfig(
            data=tiny_data(),
            model=ModelConfig(**{**sizes, **(model or {})}),
            training=TrainingConfig(**{**settings, "checkpoints": (0,), "precision": "float32", **training}),
            seed=seed,
        )

    return make
