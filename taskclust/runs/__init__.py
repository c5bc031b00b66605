"""Running experiments and keeping their records."""

from taskclust.runs.experiments import Runner
from taskclust.runs.parallel import obtain_all
from taskclust.runs.store import CorruptRecordWarning, Store, StoreError

__all__ = ["CorruptRecordWarning", "Runner", "Store", "StoreError", "obtain_all"]
