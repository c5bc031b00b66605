"""taskclust: the claims of "Transformer-based Causal Language Models Perform Clustering" as executable tests.

``__all__`` lists every name that README and the guides use. The claims are the files in ``benchmarks/``, installed from
the wheel as ``taskclust.benchmarks``. ``taskclust.claims`` decides them from the records of ``taskclust.experiments``;
``taskclust.probes`` has the mathematics. Names that need torch are imported on first use. ``docs/shapes.md`` explains
the letters in array shapes.
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

#: The modules of the names that are imported on first use. ``statistics`` are those of the main experiment (§3).
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
    return getattr(__import__(_LATER[name], fromlist=[name]), name)  # like ``from``, also for submodules
