"""The search's settings are as declared; a run has one row and is not repeated."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from studies import search
from taskclust.config import ConfigError, ExperimentConfig, digest
from taskclust.data import generate
from taskclust.models.decoder import Decoder
from taskclust.probes.components import instruction_identities
from taskclust.probes.hidden import hidden_states
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import contingency, matched_f1_score
from taskclust.profiles import vary
from taskclust.runner import Runner
from taskclust.store import Store
from tests.experiments.synthetic.test_probing import DATA, MODEL, PROBE


@pytest.mark.parametrize("width", [128, 256])
def test_declared_settings_are_valid_and_distinct(width):
    configs = {name: vary(search.small(width), changes) for name, changes in search.settings(width)}

    assert {config.model.width for config in configs.values()} == {width}
    assert len(configs) == len(list(search.settings(width))) >= 50
    assert len({digest(config) for config in configs.values()}) == len(configs)


def test_the_rate_is_table_5s_at_its_width_and_grows_as_models_narrow():
    assert [search.small(width).training.learning_rate for width in (768, 256, 128)] == [1e-4, 3e-4, 6e-4]


def test_every_alternative_differs_from_the_start():
    start = search.small()

    assert all(vary(start, {path: value}) != start for path, values in search.ALTERNATIVES.items() for value in values)


def test_samples_are_named_by_their_seed_and_take_alternatives_of_a_third_of_the_points():
    samples = [search.sampled(seed)[1] for seed in range(200)]

    assert search.sampled(3) == search.sampled(3)
    assert 0.28 < sum(map(len, samples)) / (200 * len(search.ALTERNATIVES)) < 0.38
    assert all(value in search.ALTERNATIVES[path] for changes in samples for path, value in changes.items())


@pytest.fixture
def tiny(monkeypatch):
    """A tiny version of the search's starting point, with runs of a second."""
    training = replace(search.small().training, epochs=2, checkpoints=(0, 2), precision="float32")
    probe = replace(PROBE, iterations=300)  # the least that Barnes-Hut takes
    start = ExperimentConfig(data=DATA, model=replace(MODEL, dropout=0.1), training=training, probe=probe)
    monkeypatch.setattr(search, "small", lambda _width: start)
    return start


def test_a_row_summarizes_the_record_and_checkpoints_are_deleted(tiny, tmp_path):
    row = search.run_one(tmp_path, {"model.norm": "before"}, 100)

    record = Runner(Store(tmp_path)).record("synthetic", vary(replace(tiny, seed=100), {"model.norm": "before"}))
    assert json.loads(json.dumps(row)) == row
    assert row["best_epoch"] == record.best_epoch
    assert row["accuracy"]["validation"] == record.history["validation_accuracy"].round(3).tolist()
    for split in ("validation", "subset"):
        expected = record.scores[split].tsne["task"]["f1"]
        assert row[split]["tsne"] == [[round(v, 3) for v in layer] for layer in expected.tolist()]
        assert row["bag"][split] == round(float(record.bag_of_symbols[split].tsne["task"]["f1"][0]), 3)
    late = row["by_mapping"]["subset"]["f1"]["states"][-1]
    assert late == round(float(record.by_mapping["subset"]["f1"].states[-1]), 3)
    assert set(row["without"]["subset"]) == {"input", "output", "input and output", "distribution"}
    assert all(0 < f1 <= 1 for found in row["without"].values() for both in found.values() for f1 in both)
    assert set(row["without_untrained"]) == {"validation", "subset"}
    assert row["without_untrained"] != row["without"]
    assert all(0 < f1 <= 1 for both in row["end"].values() for f1 in both)
    assert set(row["older"]) == set(row["barnes_hut"]) == set(row["before_norm"]) == {"validation", "subset"}
    assert row["before_norm"]["subset"] != [row["subset"][space][-1][-1] for space in ("raw", "tsne")]
    assert list((tmp_path / "trajectory").iterdir()) == []
    assert search.describe(row).startswith(f"best {row['best_epoch']}, accuracy ")


def test_states_of_the_instructions_end_are_clustered_by_their_own_tasks():
    tasks = np.repeat([3, 1, 2], 8)
    noise, codes = (torch.randn(1, 24, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    apart = 100 * codes[:, torch.as_tensor(tasks)] + noise

    f1 = [search._task_f1(points, tasks, PROBE, torch.Generator().manual_seed(0)) for points in (apart, noise)]

    assert f1[0] == 1
    assert f1[1] < 0.7


def test_the_instructions_end_is_that_of_the_top_layer_raw_and_after_tsne(tiny, tmp_path):
    config = replace(tiny, seed=100)
    checkpoints = Runner(Store(tmp_path)).trajectory(config) / "checkpoints"
    dataset = generate(config.data, config.seed)
    model = Decoder.from_pretrained(checkpoints / f"{config.training.epochs:04d}")

    found = search.probe_otherwise(config, checkpoints)

    for split in ("validation", "subset"):
        states = hidden_states(model, dataset.splits[split]).instruction_end[-1]
        tasks = instruction_identities(dataset.splits[split])["task"]
        raw, embedded = search.end_f1(states, dataset, split, config)
        assert found["end"][split] == [raw, embedded]
        again = kmeans(states[None], len(set(tasks)), generator=torch.Generator().manual_seed(1), restarts=50)
        assert raw == pytest.approx(matched_f1_score(contingency(tasks, again.labels[0].numpy())), abs=0.15)
        bag = search.bag_of_instructions(dataset, split)
        assert found["end_bag"][split] == search.end_f1(bag, dataset, split, config)


def test_an_impossible_setting_gets_a_row_with_the_reason(tiny, tmp_path):  # noqa: ARG001
    row = search.run_one(tmp_path, {"data.regex.families": ("option",), "data.regex.max_length": 3}, 100)

    assert "widen families" in row["failure"]
    assert search.describe(row) == row["failure"]


def test_finished_runs_are_recognized_by_settings_not_by_name(tmp_path):
    rows = tmp_path / "runs.jsonl"
    assert search.done(rows) == set()

    keys = [search.key({"model.norm": "before"}, 256), search.key({"model.norm": "before"}, 128), search.key({}, 256)]
    whole = {"setting": "one name", "failure": None, "without": {}}
    lines = [json.dumps({**whole, "key": key, "seed": 100}) for key in keys]
    lines.append(json.dumps({"setting": "of before", "failure": None, "key": keys[0], "seed": 101}))
    lines.append(json.dumps({"setting": "diverged", "failure": "why", "key": keys[0], "seed": 102}))
    rows.write_text("\n".join(lines) + "\n")

    assert len(set(keys)) == 3
    assert search.done(rows) == {*((key, 100) for key in keys), (keys[0], 102)}


def test_committed_rows_are_recognized_with_any_probe():
    """The probe is not part of a setting's key, so no row is made again when the number of starts changes."""

    def tupled(value):
        return tuple(map(tupled, value)) if isinstance(value, list) else value

    rows = [json.loads(line) for line in (Path(__file__).parents[2] / search.ROWS).read_text().splitlines()]

    assert len(rows) >= 109
    for row in rows:
        changes = {path: tupled(value) for path, value in row["changes"].items()}
        assert search.key(changes, row["width"]) == row["key"], row["setting"]


def test_two_names_of_one_setting_have_one_key():
    assert search.key({"model.weight_std": 0.02}, 768) == search.key({}, 768) != search.key({}, 256)
    assert search.key({"data.regex.max_length": 1}, 256) != search.key({}, 256)


def test_a_diverged_run_gets_a_row_that_says_so(tiny, tmp_path):  # noqa: ARG001
    with pytest.warns(RuntimeWarning, match="the loss became"):
        row = search.run_one(tmp_path, {"training.learning_rate": 1e30}, 100)

    assert set(row) == {"failure"}
    assert list((tmp_path / "trajectory").iterdir()) == []
    assert "learning_rate=1e+30" in row["failure"]


def test_a_run_whose_checkpoints_are_gone_is_trained_again(tiny, tmp_path):  # noqa: ARG001
    first = search.run_one(tmp_path, {}, 100)

    assert search.run_one(tmp_path, {}, 100) == first


def test_main_runs_only_missing_selected_settings(tiny, tmp_path, monkeypatch, capsys):  # noqa: ARG001
    rows = tmp_path / "rows" / "runs.jsonl"
    command = ["search", "--only", "tied_head", "--only", "norm=", "--seeds", "1", "--width", "128"]
    monkeypatch.setattr(sys, "argv", [*command, "--store", str(tmp_path), "--rows", str(rows)])
    monkeypatch.setattr(search, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))

    search.main()
    search.main()

    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["key"] for row in found] == [search.key(row["changes"], 128) for row in found]
    names = ["model.tied_head=True", "model.norm=before"]
    assert [(row["setting"], row["width"], row["seed"]) for row in found] == [(name, 128, 100) for name in names]
    assert capsys.readouterr().out.count("accuracy") == 2


def test_an_error_in_one_run_does_not_stop_the_others(tiny, tmp_path, monkeypatch, capsys):  # noqa: ARG001
    rows = tmp_path / "runs.jsonl"
    real = search.run_one

    def faulty(store, changes, *rest):
        if "model.norm" in changes:
            raise OSError("disk full")
        return real(store, changes, *rest)

    monkeypatch.setattr(search, "run_one", faulty)
    monkeypatch.setattr(search, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(2))
    command = ["search", "--only", "norm=", "--only", "tied_head", "--seeds", "1", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", [*command, "--store", str(tmp_path), "--rows", str(rows)])

    search.main()

    assert [json.loads(line)["setting"] for line in rows.read_text().splitlines()] == ["model.tied_head=True"]
    assert "model.norm=before seed 100: OSError: disk full" in capsys.readouterr().out


def test_an_incomplete_row_is_ignored_and_removed_by_the_next_search(tmp_path):
    rows = tmp_path / "runs.jsonl"
    whole = json.dumps({"setting": "start", "failure": "why", "key": "a", "seed": 100}) + "\n"
    torn = whole + whole.replace("100", "101")[:20]
    rows.write_text(torn)

    assert search.done(rows) == {("a", 100)}
    assert rows.read_text() == torn
    search.cut_torn_row(rows)
    assert rows.read_text() == whole
    search.cut_torn_row(tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "a"}'])
def test_an_invalid_row_is_named(tmp_path, line):
    (tmp_path / "runs.jsonl").write_text(line + "\n")

    with pytest.raises(ConfigError, match="line 1 is not a row of the search"):
        search.done(tmp_path / "runs.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "tyed"], "no setting's name contains this"),
        (["--minutes", "nan"], "minutes=nan: give 0 or more"),
        (["--workers", "0"], "workers=0: give 1 or more"),
        (["--width", "100"], "width=100"),
    ],
)
def test_options_that_select_nothing_give_one_line(tmp_path, monkeypatch, capsys, options, message):
    rows = tmp_path / "runs.jsonl"
    monkeypatch.setattr(sys, "argv", ["search", "--store", str(tmp_path), "--rows", str(rows), *options])

    with pytest.raises(SystemExit, match="1"):
        search.main()

    assert message in capsys.readouterr().err
    assert not rows.exists()


def test_two_searches_of_one_file_are_refused(tmp_path, monkeypatch, capsys):
    rows = tmp_path / "runs.jsonl"
    monkeypatch.setattr(sys, "argv", ["search", "--store", str(tmp_path), "--rows", str(rows)])

    rows.write_text('{"key": ')

    with FileLock(search.lock_of(rows)), pytest.raises(SystemExit, match="1"):
        search.main()

    assert "another search writes to it" in capsys.readouterr().err
    assert rows.read_text() == '{"key": ', "which the other one is writing"
