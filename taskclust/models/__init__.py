"""The models and their training. After importing this, transformers can open checkpoints by their folder."""

from taskclust.models.interface import Model
from taskclust.models.registry import create, open_checkpoint
from taskclust.models.training import Trainer, TrainingDiverged

__all__ = ["Model", "Trainer", "TrainingDiverged", "create", "open_checkpoint"]
