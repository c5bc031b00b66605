"""Sizes of readings are counted on small data sets, and distances agree with hand-computed ones."""

import math
import re

import numpy as np
import pytest

from studies import table_3
from taskclust.config import PRINTED_SIZES, RegexConfig
from taskclust.data import generate
from tests.helpers import tiny_data

FOUND = {
    "near": {"training": [7_200, 7_300, 7_400], "validation": [305, 315, 325]},
    "far": {"training": [7_200, 7_300, 7_400], "validation": [365, 375, 385]},
}
FOUND = {name: {**one, **{n: [90, 90, 90] for n in list(table_3.PRINTED)[2:]}} for name, one in FOUND.items()}


def test_sizes_are_the_instances_of_the_splits_and_the_hard_ones_among_them():
    config = tiny_data(max_distributions=1)  # four tasks of one distribution: two held out in part, two imitated

    counted = table_3.sizes(generate(config, seed=0))

    per_instruction = config.n_mappings
    assert counted == {
        "training": (4 * 10 - 2 * 3 + 2 * 3) * per_instruction,
        "validation": 2 * 3 * per_instruction,
        "hard examples": 2 * 3 * per_instruction,
        "hard examples and originals": 2 * (3 + 3) * per_instruction,
    }
    assert set(counted) == set(table_3.PRINTED)


def test_sizes_of_seeds_are_in_the_order_of_the_seeds():
    config = tiny_data()

    found = table_3.sizes_of_seeds(config, [3, 1])

    assert found["training"] == [generate(config, seed).train.n_instances for seed in (3, 1)]


@pytest.mark.parametrize(
    ("values", "printed", "expected"),
    [([90, 100, 110], 120, 2.0), ([90, 100, 110], 80, 2.0), ([90, 100, 110], 100, 0.0)],
    ids=["above", "below", "met"],
)
def test_distance_is_in_standard_deviations_of_a_seed(values, printed, expected):
    assert table_3.distance(values, printed) == pytest.approx(expected)


def test_sizes_that_do_not_vary_have_no_distance():
    assert math.isnan(table_3.distance([315, 315], 315))


def test_table_has_the_printed_sizes_and_a_row_per_reading():
    _, _, printed, near, far = table_3.table(FOUND).splitlines()

    assert re.findall(r"\*[\d,]+\*", printed) == ["*7,300*", "*315*", "*180*", "*180*"]
    assert "7,300 ± 100 (0.0)" in near
    assert "315 ± 10 (0.0)" in near
    assert "375 ± 10 (6.0)" in far
    assert far.count("90 ± 0 (none)") == 2


def test_readings_are_ranked_by_the_larger_distance_of_training_and_validation():
    reversed_order = dict(reversed(FOUND.items()))

    assert table_3.ranking(reversed_order) == pytest.approx({"near": 0.0, "far": 6.0})
    assert list(table_3.ranking(reversed_order)) == ["near", "far"]


@pytest.mark.parametrize("name", table_3.REGEXES)
def test_a_readings_name_says_what_its_settings_are(name):
    regex = table_3.REGEXES[name]

    assert ("`abcd*`" in name) == (regex.quantified == "last")
    assert f"at most {regex.max_repeats}" in name
    assert ("classes" in name) == ("class" in regex.families) == ("alternation" in regex.families)
    assert regex.max_length >= regex.max_metacharacters * regex.max_characters * regex.max_repeats


@pytest.mark.parametrize("seed", range(3))
def test_free_draws_of_a_seed_have_the_same_numbers_of_distributions(seed):
    readings = list(table_3.REGEXES.values())
    counts = [
        [len(task.distributions) for task in generate(table_3.free_draw(regex), seed).tasks]
        for regex in (readings[0], readings[-1])
    ]

    assert counts[0] == counts[1]
    assert set(counts[0]) == set(range(1, 7))


def test_mean_distributions_are_counted_in_ordinary_tasks(monkeypatch):
    config = tiny_data(
        min_distributions=2
    )  # four tasks of two distributions, two for validation, two hard ones besides
    monkeypatch.setattr(table_3, "free_draw", lambda regex: config)

    assert table_3.mean_distributions([0, 1]) == (8.0, 4.0)


def test_page_names_its_command_its_seeds_and_every_reading(monkeypatch, tmp_path):
    names = list(table_3.REGEXES)[:2]
    monkeypatch.setattr(table_3, "REGEXES", {name: table_3.REGEXES[name] for name in names})
    monkeypatch.setattr(table_3, "SEEDS", range(4, 6))
    monkeypatch.setattr(table_3, "free_draw", lambda regex: tiny_data(regex=regex, small_languages="keep"))
    to = tmp_path / "table-3.md"

    table_3.main(str(to))

    text = to.read_text(encoding="utf-8")
    assert f"`python -m studies.table_3 {to}`: seeds 4 to 5" in text
    assert all(text.count(name) >= 3 for name in names), "in both tables and in the ranking"
    assert f"{PRINTED_SIZES['train']:,}" in text
    assert f"at most {RegexConfig().max_length} symbols" in text
    sizes = [generate(table_3.free_draw(table_3.REGEXES[names[0]]), seed).train.n_instances for seed in (4, 5)]
    assert f"{np.mean(sizes):,.0f} ± {np.std(sizes, ddof=1):,.0f}" in text
