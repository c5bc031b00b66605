"""The synthetic data of §2.2: plain numpy, no torch."""

from taskclust.data.synthetic import PAD, Dataset, Split, generate

__all__ = ["PAD", "Dataset", "Split", "generate"]
