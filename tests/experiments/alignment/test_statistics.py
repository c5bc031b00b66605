"""Statistics of §4.2 on hand-made records."""

import math

import numpy as np
import pytest

from taskclust.config import PRINTED_DROPS, AlignmentConfig
from taskclust.experiments.alignment import statistics as s
from taskclust.experiments.alignment.record import Accuracy, Method, Record

HISTORY = {"source": np.array([0.0, 1.0]), "others": np.array([1.0, 0.9]), "loss": np.array([np.nan, 1.0])}
FIRES = Accuracy(source=1.0, others=0.1)


def record(methods, shuffled, seed=0, failure=None):
    """A record with the given numbers of methods and controls; fine-tunings have a history, switches fire."""
    extras = {name: {"history": HISTORY, "best_epoch": 1} for name in ("direct", "head")}
    return Record(
        config=AlignmentConfig(seed=seed),
        failure=failure,
        base=Accuracy(source=0.0, others=1.0),
        methods={name: Method(**row, **extras.get(name, {"fires": FIRES})) for name, row in methods.items()},
        shuffled={kind: Method(**row, fires=FIRES) for kind, row in shuffled.items()},
        base_history=HISTORY,
        seconds={"train": 1.0},
        provenance={"commit": "0123abc", "threads": 1},
    )


def table_2(seed=0, **changes):
    """A record with the printed drops, give or take what a seed does; ``changes`` of a method's row."""
    shift = 0.004 * (seed - 2)
    methods = {
        name: {"source": 1.0, "others": 0.9, "drop": drop + shift, **changes.get(name, {})}
        for name, drop in PRINTED_DROPS.items()
    }
    return record(
        methods, {kind: {"source": 0.85, "others": 0.8, "drop": 0.1 + shift} for kind in ("linear", "mlp")}, seed
    )


def test_each_quantity_of_a_method_is_its_own():
    made = table_2(2, linear={"source": 0.7, "others": 0.6, "drop": 0.5})

    assert [s.aligned("linear", quantity)(made) for quantity in ("source", "others", "drop")] == [0.7, 0.6, 0.5]
    assert s.aligned("direct", "drop")(made) == PRINTED_DROPS["direct"]


def test_last_drop_is_what_the_last_epoch_of_a_fine_tuning_lost_of_the_others():
    assert s.last_drop("direct")(table_2()) == pytest.approx(0.1)


def test_a_switch_has_no_last_drop():
    assert math.isnan(s.last_drop("mlp")(table_2()))


def test_a_switch_forgets_less_than_the_head_by_the_difference_of_their_drops():
    made = table_2(head={"drop": 0.3}, linear={"drop": 0.1})

    assert s.less_forgetting("linear")(made) == pytest.approx(0.2)


def test_a_switchs_loss_of_source_accuracy_is_subtracted():
    made = table_2(head={"drop": 0.3}, linear={"drop": 0.1, "source": 0.7})

    assert s.less_forgetting("linear")(made) == pytest.approx(0.2 - 0.3)


def test_what_a_switch_gains_in_source_accuracy_is_not_counted():
    made = table_2(head={"drop": 0.3, "source": 0.8}, linear={"drop": 0.1})

    assert s.less_forgetting("linear")(made) == pytest.approx(0.2)


def test_the_null_is_the_switch_trained_on_shuffled_labels():
    made = table_2(2, head={"drop": 0.3})

    assert s.less_forgetting("mlp", "shuffled")(made) == pytest.approx(0.3 - 0.1 - 0.15)
