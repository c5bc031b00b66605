"""Other clustering algorithms on the embeddings of records: they find what is there, and only that."""

import json

import numpy as np
import pytest

from taskclust.probes.algorithms import ALGORITHMS, task_f1
from taskclust.runs import clusterings

TASKS = np.repeat([0, 1, 2], 15)
APART = np.repeat(20 * np.eye(3), 15, axis=0) + np.random.default_rng(0).normal(size=(45, 3))


def record(seed, points, norm="after"):
    part = {"top_embedding": [np.zeros_like(points).tolist(), points.tolist()]}
    return {
        "config": {"seed": seed, "model": {"width": 32, "norm": norm}},
        "scores": {"validation": part, "subset": part},
        "identities": {"validation": {"task": TASKS.tolist()}, "subset": {"task": TASKS[::-1].tolist()}},
    }


@pytest.mark.parametrize("name", ALGORITHMS)
def test_clusters_that_lie_apart_are_found_and_mixed_ones_are_not(name):
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


def test_a_table_names_the_command_that_made_it(tmp_path):
    path, to = tmp_path / "record.json", tmp_path / "table.md"
    path.write_text(json.dumps(record(0, APART)))

    clusterings.main(str(to), str(path))

    text = to.read_text()
    assert f"python -m taskclust.runs.clusterings {to} {path}" in text
    assert "| average linkage" in text
