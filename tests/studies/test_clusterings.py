"""Other clustering algorithms on the embeddings of records find real clusters and only those."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from studies import clusterings
from studies.algorithms import ALGORITHMS, majority_scores, task_f1
from taskclust.config import ConfigError, DataConfig, ModelConfig, ProbeConfig, TrainingConfig
from taskclust.data import generate
from taskclust.exchange import read_record
from taskclust.store import encode
from tests.records import perfect_record

ROOT = Path(__file__).parents[2]
TASKS = np.repeat([0, 1, 2], 15)
APART = np.repeat(20 * np.eye(3), 15, axis=0) + np.random.default_rng(0).normal(size=(45, 3))
NAME = "synthetic-width-32-seed-0-0123456789abcdef0123.json"


def record(seed, points, norm="after", *, tied=False, precision="float32", **changes):
    untrained = np.random.default_rng(4).normal(size=points.shape)
    found = perfect_record(seed)
    part = replace(found.scores["validation"], top_embedding=np.stack([untrained, points]))
    model = ModelConfig(width=32, norm=norm, tied_head=tied)
    config = replace(found.config, model=model, training=TrainingConfig(precision=precision), **changes)
    identities = {
        name: replace(found.identities[name], task=tasks)
        for name, tasks in (("validation", TASKS), ("subset", TASKS[::-1]))
    }
    return replace(found, config=config, scores={"validation": part, "subset": part}, identities=identities)


def kept(folder, made):
    """A file of the record."""
    (folder / NAME).write_bytes(encode(made))
    return folder / NAME


@pytest.mark.parametrize("name", ALGORITHMS)
def test_separate_clusters_are_found_and_mixed_ones_are_not(name):
    mixed = np.random.default_rng(1).permutation(TASKS)

    assert task_f1(APART, TASKS)[name] == 1
    assert task_f1(APART, mixed)[name] < 0.6


def test_rows_hold_the_mean_and_the_highest_of_a_models_seeds_at_the_last_epoch():
    noise = np.random.default_rng(2).normal(size=APART.shape)
    low = task_f1(noise, TASKS)["Ward"]

    first, *_, other = clusterings.clustering_rows([record(0, APART), record(1, noise), record(0, APART, "before")])

    assert (first["norm"], first["seeds"], first["split"]) == ("after", 2, "validation")
    assert first["Ward"] == f"{(1 + low) / 2:.2f} (1.00)"
    assert (other["norm"], other["seeds"], other["Ward"]) == ("before", 1, "1.00 (1.00)")


def test_different_models_have_separate_rows():
    rows = clusterings.clustering_rows([record(0, APART), record(0, APART, tied=True)])

    assert [(row["head"], row["seeds"]) for row in rows] == [("its own", 1)] * 2 + [("tied", 1)] * 2


def test_records_from_before_and_after_an_added_option_are_grouped(tmp_path):
    plain = json.loads(encode(record(0, APART)))
    del plain["config"]["model"]["architecture"]
    (tmp_path / NAME).write_text(json.dumps(plain))

    rows = clusterings.clustering_rows([read_record(tmp_path / NAME), record(1, APART)])

    assert [row["seeds"] for row in rows] == [2, 2]


def test_seeds_of_both_precisions_are_grouped_and_count_once():
    (row, _) = clusterings.clustering_rows([record(0, APART), record(1, APART, precision="bfloat16")])
    assert row["seeds"] == 2

    with pytest.raises(ConfigError, match=r"seed=\[0, 0\]"):
        clusterings.clustering_rows([record(0, APART), record(0, APART, precision="bfloat16")])


def test_more_clusters_than_tasks_have_a_high_majority_f1_and_a_low_ari():
    pieces = APART + np.repeat(np.random.default_rng(3).normal(size=(9, 3)) * 5, 5, axis=0)  # three for each task

    whole, pure = (majority_scores(points, TASKS, k) for points, k in ((APART, 3), (pieces, 9)))

    assert whole == (1, 1)
    assert pure[0] > 0.9
    assert pure[1] < 0.6


def test_a_task_without_a_cluster_scores_zero():
    points = np.where(TASKS == 2, 1, TASKS)[:, None] + np.arange(45)[:, None] / 1e4

    f1, _ = majority_scores(points, np.array([5, 6, 8])[TASKS], 2)

    assert f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_rows_of_more_clusters_compare_the_first_and_the_last_epoch_and_the_bag():
    bags = dict.fromkeys((0, 1), dict.fromkeys(("validation", "subset"), APART))

    rows = clusterings.majority_rows([record(0, APART), record(1, APART)], bags)

    assert [(row["split"], row["clusters a task"]) for row in rows] == [
        (split, n) for split in ("validation", "subset") for n in clusterings.CLUSTERS_A_TASK
    ]
    assert rows[0]["at the end"] == rows[0]["bag of symbols"] == "1.00 (1.00)"
    assert float(rows[0]["untrained"].split()[0]) < 0.7


def test_bags_are_those_of_the_seeds_data_set(monkeypatch):
    seen = {}

    def embedded(dataset, split, *_):
        seen[split] = dataset.splits[split].instructions
        return torch.zeros(1, 2, 3)

    monkeypatch.setattr(clusterings, "embedded_bag", embedded)

    clusterings.embedded_bags(3, ProbeConfig())

    for split in ("validation", "subset"):
        assert np.array_equal(seen[split], generate(DataConfig(), 3).splits[split].instructions)


def test_a_table_names_the_command_that_made_it(tmp_path, monkeypatch):
    monkeypatch.setattr(clusterings, "embedded_bags", lambda *_: {"validation": APART, "subset": APART})
    path, to = kept(tmp_path, record(0, APART)), tmp_path / "table.md"

    clusterings.main(str(to), str(path))

    text = to.read_text()
    assert f"python -m studies.clusterings {to} {path}" in text
    assert "| average linkage" in text
    assert "clusters a task" in text


def test_records_with_other_data_are_refused(tmp_path):
    path = kept(tmp_path, record(0, APART, data=DataConfig(n_mappings=4)))

    with pytest.raises(ConfigError, match=r"data\.n_mappings=4: .* 5; leave the record out"):
        clusterings.main(str(tmp_path / "table.md"), str(path))


def test_records_with_another_probe_are_refused(tmp_path):
    first = kept(tmp_path, record(0, APART))
    (tmp_path / "other").mkdir()
    other = kept(tmp_path / "other", record(1, APART, probe=ProbeConfig(perplexity=20)))

    with pytest.raises(ConfigError, match=r"probe\.perplexity=20.* 10.0; leave the record out"):
        clusterings.main(str(tmp_path / "table.md"), str(first), str(other))


def test_a_record_of_a_failed_training_is_refused(tmp_path):
    path = kept(tmp_path, replace(record(0, APART), failure="the loss became nan"))

    with pytest.raises(ConfigError, match="failure='the loss became nan'"):
        clusterings.main(str(tmp_path / "table.md"), str(path))


def test_another_file_is_not_replaced(tmp_path):
    (tmp_path / "thesis.md").write_text("years of work")

    with pytest.raises(ConfigError, match=r"thesis.md': studies.clusterings did not write this file"):
        clusterings.main(str(tmp_path / "thesis.md"), "no record")

    assert (tmp_path / "thesis.md").read_text() == "years of work"


@pytest.mark.parametrize("name", ["clusterings", "table_3", "planted_report", "search_report"])
@pytest.mark.parametrize("words", [["--help"], []], ids=["help", "nothing"])
def test_help_and_no_argument_write_nothing(name, words, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"studies.{name}", *words]

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == (0 if words else 2)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
