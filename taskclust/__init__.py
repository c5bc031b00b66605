"""taskclust: the claims of "Transformer-based Causal Language Models Perform Clustering" as executable tests.

The public map. The claims are the files of ``benchmarks/``. ``taskclust.claims`` decides them; what they read is made
in ``taskclust.experiments``; ``taskclust.probes`` is the mathematics. What needs torch is imported on first use. The
letters in arrays' shapes are explained in ``docs/shapes.md``.
"""

from importlib import import_module
from typing import Any

from taskclust.claims import Always, AtLeast, AtMost, Check, Claim, ConsistentWith, Exceeds, KnownFailure, judge
from taskclust.config import ConfigError, DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, TrainingConfig
from taskclust.profiles import llm, paper, smoke

__version__ = "0.1.0"

#: Where the names are that need torch.
_LATER = {
    "Instance": "taskclust.models.alignment",
    "Prompt": "taskclust.language",
    "Runner": "taskclust.runner",
    "Store": "taskclust.store",
    "align": "taskclust.models.alignment",
    "create": "taskclust.models",
    "generate": "taskclust.data",
    "load_report": "taskclust.report.frames",
    "open_checkpoint": "taskclust.models",
    "probe": "taskclust.language",
    "probe_checkpoint": "taskclust.experiments.synthetic.probing",
    "read_prompts": "taskclust.language",
    "read_record": "taskclust.exchange",
}

__all__ = [
    "Always",
    "AtLeast",
    "AtMost",
    "Check",
    "Claim",
    "ConfigError",
    "ConsistentWith",
    "DataConfig",
    "Exceeds",
    "ExperimentConfig",
    "Instance",
    "KnownFailure",
    "ModelConfig",
    "ProbeConfig",
    "Prompt",
    "Runner",
    "Store",
    "TrainingConfig",
    "align",
    "create",
    "generate",
    "judge",
    "llm",
    "load_report",
    "open_checkpoint",
    "paper",
    "probe",
    "probe_checkpoint",
    "read_prompts",
    "read_record",
    "smoke",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'taskclust' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
