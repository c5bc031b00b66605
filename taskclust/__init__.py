"""taskclust: the claims of "Transformer-based Causal Language Models Perform Clustering" as executable tests.

The public map: ``config`` holds the paper's numbers, ``profiles`` the scales, ``data`` samples the tasks,
``models`` trains the decoder, ``probes`` measures its hidden states, ``runs`` puts them together, ``claims`` judges,
``report`` shows.
"""

from taskclust.config import ConfigError, ExperimentConfig
from taskclust.profiles import paper, smoke

__version__ = "0.1.0"

__all__ = ["ConfigError", "ExperimentConfig", "paper", "smoke"]
