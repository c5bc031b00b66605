"""Simulated states have the given shares, and k-means finds tasks once the task's share is large enough."""

from dataclasses import replace

import numpy as np
import pytest

from studies import planted
from studies import planted_report as report
from taskclust.config import ConfigError, DataConfig, ProbeConfig
from taskclust.data import generate
from taskclust.probes.components import instance_identities, variance_components
from taskclust.store import encode
from tests.records import perfect_record

SHARES = {"task": 0.1, "distribution": 0.3, "input": 0.3, "output": 0.1, "instance": 0.2}


def made(shares, **changes):
    """A record with these variance components of the validation set's states at the end."""
    found = perfect_record(0)
    components = {"validation": {name: np.array([[0.0, share]]) for name, share in shares.items()}}
    return replace(found, components=components, config=replace(found.config, **changes))


def test_planted_states_have_the_requested_shares():
    split = generate(DataConfig(), 0).validation

    states = planted.planted_states(split, SHARES, np.random.default_rng(0))

    found = variance_components(states[None], instance_identities(split))
    for name, share in SHARES.items():
        assert found[name][0] == pytest.approx(share, abs=0.06)


def test_another_task_share_leaves_the_others_in_proportion():
    changed = planted.with_task_share(SHARES, 0.55)

    assert sum(changed.values()) == pytest.approx(1)
    assert changed["task"] == 0.55
    assert changed["distribution"] == pytest.approx(0.15)


def test_measured_shares_are_means_with_negatives_as_zero():
    records = [made({"task": t, "input": 0.6, "instance": i}) for t, i in ((0.2, -0.1), (0.4, -0.2))]

    assert planted.measured_shares(records, "validation") == pytest.approx(
        {"task": 1 / 3, "input": 2 / 3, "instance": 0}
    )


def test_tasks_are_found_when_they_are_most_of_the_variance_and_not_without(monkeypatch):
    """After t-SNE, F1 without a task share is 0.3 to 0.4, ± 0.03 over 18 starts; with it, every F1 is 1."""
    monkeypatch.setattr(planted, "TASK_SHARES", (0.0, 0.7))

    f1 = planted.planted_f1("validation", SHARES, ProbeConfig(iterations=250, tsne_restarts=2, kmeans_restarts=10), [0])

    assert f1.shape == (1, 2, 2)
    assert f1[0, 0].max() < 0.6
    assert f1[0, -1].min() > 0.9


def test_a_table_and_a_figure_are_written_and_other_data_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(planted, "planted_f1", lambda *_: np.zeros((1, len(planted.TASK_SHARES), 2)))
    paper, other = (tmp_path / f"synthetic-{name}-0123456789abcdef0123.json" for name in ("paper", "other"))
    paper.write_bytes(encode(made(SHARES)))
    other.write_bytes(encode(made(SHARES, data=DataConfig(n_mappings=4))))

    planted.main([str(tmp_path / "out.json"), str(paper)])
    report.main(str(tmp_path / "out.json"))

    text = (tmp_path / "out.md").read_text()
    assert "0.10 measured" in text
    assert "validation: task 0.10, distribution 0.30" in text
    assert (tmp_path / "out.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"other-\w+.json'?: it has other data"):
        planted.main([str(tmp_path / "out.json"), str(other)])
