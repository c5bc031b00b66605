"""taskclust: the claims of "Transformer-based Causal Language Models Perform Clustering" as executable tests.

The public map: ``__all__`` has every name that README and the guides show. The claims are the files of ``benchmarks/``,
which are ``taskclust.benchmarks`` in the wheel. ``taskclust.claims`` decides them; what they read is made in
``taskclust.experiments``; ``taskclust.probes`` is the mathematics. What needs torch is imported on first use. The
letters in arrays' shapes are explained in ``docs/shapes.md``.
"""

from typing import TYPE_CHECKING, Any

from taskclust.claims import Always, AtLeast, AtMost, Check, Claim, ConsistentWith, Exceeds, KnownFailure, judge
from taskclust.config import ConfigError, DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, TrainingConfig
from taskclust.profiles import llm, paper, smoke

if TYPE_CHECKING:
    from taskclust.data import generate
    from taskclust.exchange import read_record
    from taskclust.experiments.synthetic import statistics
    from taskclust.experiments.synthetic.probing import probe_checkpoint
    from taskclust.language import Prompt, probe, read_prompts
    from taskclust.models import create, open_checkpoint
    from taskclust.models.alignment import Instance, align
    from taskclust.report.frames import load_report
    from taskclust.runner import Runner
    from taskclust.store import Store

__version__ = "0.1.0"

#: Where the names are that are imported on first use. ``statistics`` are those of the main experiment (§3).
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
    "statistics": "taskclust.experiments.synthetic",
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
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'taskclust' has no attribute {name!r}")
    return getattr(__import__(_LATER[name], fromlist=[name]), name)  # as ``from``, which takes submodules, too
