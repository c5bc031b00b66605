"""What runs cost comes from their records, and a run without five seeds has the command that completes it."""

from dataclasses import replace

import pytest

from studies.compute import command, core_hours, row, table
from studies.numbers import sources
from tests.records import perfect_record


def record(hours, threads=1, device="a processor"):
    found = perfect_record(0)
    facts = {**found.provenance, "threads": threads, "device": device}
    return replace(found, seconds={"train": hours * 2700, "probe": hours * 900}, provenance=facts)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "reports" / "a-run"
    folder.mkdir(parents=True)
    (folder / "tables.md").write_text("Made by `pytest benchmarks --seeds 2 --report reports/a-run`.\n\nmore\n")
    return tmp_path


def test_two_threads_cost_twice_the_hours():
    assert [core_hours(record(1.5, threads)) for threads in (1, 2)] == pytest.approx([1.5, 3])


def test_a_run_of_two_seeds_lacks_three_of_their_mean(root):
    found = row("a-run", [record(1), record(3, device="another")], root)

    assert found == {
        "run": "a-run",
        "seeds": 2,
        "processors": "a processor, another",
        "hours a seed": "1.0 to 3.0",
        "hours": "4.0",
        "hours left": "6.0",
        "completed by": "`pytest benchmarks --seeds 5 --report reports/a-run`",
    }


def test_a_run_of_five_seeds_lacks_nothing(tmp_path):
    found = row("no-report", [record(1)] * 5, tmp_path)

    assert (found["hours a seed"], found["hours"], found["hours left"], found["completed by"]) == ("1.0", "5.0", "", "")


def test_the_last_row_has_the_sums(root):
    last = table({"a-run": [record(1)], "whole": [record(2)] * 5}, root).splitlines()[-1]

    assert last.replace(" ", "") == "|all|6|||11.0|4.0||"


def test_a_report_without_its_command_is_named(root):
    (root / "reports" / "a-run" / "tables.md").write_text("# Tables\n")

    with pytest.raises(ValueError, match=r"a-run: tables.md does not begin with a command that has --seeds"):
        command(root / "reports" / "a-run")


def test_every_run_that_lacks_seeds_has_its_command():
    known = sources()

    for name in (name for name, files in known.runs.items() if len(files) < 5):
        assert "--seeds 5" in command(known.root / "reports" / name)
