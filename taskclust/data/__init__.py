"""The synthetic data of §2.2: plain numpy, no torch."""

from taskclust.data.alignment import AlignmentData, generate_alignment
from taskclust.data.synthetic import PAD, Dataset, Split, generate

__all__ = ["PAD", "AlignmentData", "Dataset", "Split", "generate", "generate_alignment"]
