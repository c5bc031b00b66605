"""Each fault of the study is one that the tests plant, and failing conditions are listed."""

import json

import pytest

from studies import smoke_faults as F


@pytest.mark.parametrize("name", F.FAULTS)
def test_every_fault_is_one_that_the_suite_plants(name):
    assert callable(F.planter(name))


def test_a_fault_that_is_not_planted_there_is_an_error():
    with pytest.raises(KeyError):
        F.planter("no such fault")


def test_the_table_has_a_row_per_fault_that_was_run(tmp_path):
    (tmp_path / "nothing.json").write_text("[]")
    (tmp_path / "unmatched-F1.json").write_text(json.dumps(["a[b] not reproduced", "c[d] inconclusive"]))

    nothing, unmatched = F.rows(tmp_path)

    assert (nothing["fault"], nothing["red cells"]) == ("nothing", 0)
    assert (unmatched["red cells"], unmatched["which"]) == (2, "a[b] not reproduced; c[d] inconclusive")
