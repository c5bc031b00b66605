"""The table that gives the paper's Figure 5b in numbers."""

from collections.abc import Sequence

import numpy as np

from taskclust.experiments.pretraining.record import Record
from taskclust.experiments.pretraining.statistics import LEVELS, epochs_to, tuning
from taskclust.formats import Rows, with_interval

#: §4.1's names of the arms, i.e. of what is done before tuning.
ARM_NAMES = {
    "identity": "task identity pre-training",
    "instruction": "instruction pre-training",
    "none": "no pre-training",
    "shuffled": "shuffled identities (null)",
}


def tables(records: Sequence[Record]) -> dict[str, Rows]:
    """The tables by title, over seeds."""
    return {"Figure 5b in numbers: validation accuracy during tuning": tuning_rows(records)}


def tuning_rows(records: Sequence[Record]) -> Rows:
    """One row per arm: each seed's epochs to fixed accuracies on the validation set, and mean and final accuracy."""
    whole = [record for record in records if not record.failure]

    def epochs(curve: np.ndarray, level: float) -> str:
        epoch = epochs_to(curve, level)
        return str(epoch) if epoch < len(curve) else "never"

    rows = []
    for arm, name in ARM_NAMES.items() if whole else ():
        curves = [tuning(record, arm) for record in whole]
        before = [record.pretraining[arm] for record in whole if arm in record.pretraining]
        rows.append({
            "before tuning": name,
            "epochs of it": ", ".join(str(stage.best_epoch) for stage in before) or "–",
            **{f"epochs to {level}": ", ".join(epochs(curve, level) for curve in curves) for level in LEVELS},
            "mean accuracy": with_interval([float(curve.mean()) for curve in curves]),
            "accuracy at the end": with_interval([float(curve[-1]) for curve in curves]),
            "seeds": ", ".join(str(record.config.seed) for record in whole),
        })  # fmt: skip
    return rows
