"""The trainers of both stages of an arm: pre-training, with or without task identities, then tuning (§4.1).

All arms start from the seed's initial weights and have the same vocabulary. They are tuned on the same data, in the
same order and at the same learning rates. They differ only in their pre-training.
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
    """The trainer, not yet run, of an arm's first stage; None for the arm "none".

    Arms are those of :data:`taskclust.config.ARMS`. The epoch that is kept depends on the arm:

    - "identity": the epoch with the best accuracy of identities on unseen instructions.
    - "instruction": the epoch with the lowest loss on unseen instructions.
    - "shuffled", the negative control: the last epoch, as shuffled identities of unseen instructions cannot be
      predicted. It lasts ``epochs`` epochs (all by default). Give the best epoch of "identity", so that both arms learn
      from the instructions for equally long.
    """
    if arm == "none":
        return None
    stage = config.stage("pretraining")
    if arm == "shuffled" and epochs is not None:
        stage = replace(stage, training=stage.training.until(max(1, epochs)))
    if arm != "identity":  # only the checkpoints of "identity" are probed
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
    """The trainer, not yet run, of the second stage: instruction following.

    It starts from ``model``, or from the seed's initial weights if ``model`` is None.
    """
    return Trainer(config.stage("training"), dataset, device, model=model)
