"""The paper's decoder and its training. Importing this lets transformers open the checkpoints by their folder."""

from taskclust.models.decoder import Decoder, DecoderConfig
from taskclust.models.training import Trainer, TrainingDiverged

__all__ = ["Decoder", "DecoderConfig", "Trainer", "TrainingDiverged"]
