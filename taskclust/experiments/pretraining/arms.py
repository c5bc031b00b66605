"""Pre-training on instructions, with or without task identities, and the tuning that follows (§4.1).

Each arm has the seed's initial weights, and is tuned on the same data in the same order at the same rates; all have one
vocabulary. What differs is the pre-training alone.
"""

from dataclasses import replace

import numpy as np
import torch

from taskclust.config import PretrainingConfig
from taskclust.data import Dataset
from taskclust.data.identities import identity_dataset, instruction_dataset
from taskclust.models.interface import Model
from taskclust.models.training import Trainer


def pretrainer(
    arm: str,
    config: PretrainingConfig,
    dataset: Dataset,
    device: torch.device | str = "cpu",
    *,
    epochs: int | None = None,
) -> Trainer | None:
    """The first stage of an arm of :data:`taskclust.config.ARMS`, not yet run; None for "none".

    "identity" is selected by the accuracy of identities on unseen instructions, "instruction" by the loss on them.
    "shuffled", the null, cannot be predicted on them: it lasts the ``epochs`` that "identity" was found best after (all
    by default), so that both have learned from the instructions for as long.
    """
    if arm == "none":
        return None
    stage = config.stage("pretraining")
    if arm == "shuffled" and epochs is not None:
        stage = replace(stage, training=stage.training.until(max(1, epochs)))
    if arm != "identity":  # the one whose checkpoints are probed
        stage = replace(stage, training=replace(stage.training, checkpoints=()))
    if arm == "instruction":
        return Trainer(stage, instruction_dataset(dataset), device, criterion="loss")
    if arm == "shuffled":
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, 0x1D]))
        return Trainer(stage, identity_dataset(dataset, shuffle=rng), device, criterion="last")
    return Trainer(stage, identity_dataset(dataset), device)


def tuner(
    config: PretrainingConfig, dataset: Dataset, model: Model | None, device: torch.device | str = "cpu"
) -> Trainer:
    """The second stage, not yet run: instruction following, from ``model`` or from the seed's initial weights."""
    return Trainer(config.stage("training"), dataset, device, model=model)
