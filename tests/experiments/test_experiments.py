"""Experiments are found by their folders, have all parts, and have the keys of stored records."""

from dataclasses import replace

import pytest

from taskclust import experiments
from taskclust.config import LanguageConfig
from taskclust.experiments.natural_language.record import Record
from taskclust.runner import Runner
from taskclust.store import Store

NAMES = ("alignment", "natural_language", "paper_tables", "pretraining", "synthetic")
#: Keys of the smoke configurations of seeds 0 and 3 in version 0.1, whose kind "scores" is now "synthetic".
KEYS = {
    "synthetic": (6, "a8c598e890eecdc70fc2", "c87ac4b2a4fa20279ca1"),
    "pretraining": (3, "bbf8e54bd4b169910bbc", "587e6a52e51e30e97783"),
    "alignment": (2, "404caee1b824a58a81f1", "99583d7d38a6f8f216b2"),
    "trajectory": (1, "d04d7cb58477ef48963b", "7e8b8b5e4219c5e0c56e"),
}


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path))


def version(kind):
    if kind == "trajectory":
        from taskclust.runner import TRAJECTORY_VERSION

        return TRAJECTORY_VERSION
    return experiments.part(kind, "run").VERSION


def smoke(kind):
    return experiments.part("synthetic" if kind == "trajectory" else kind, "config").smoke()


def test_experiments_are_the_folders_in_alphabetical_order():
    assert experiments.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_what_the_runner_needs(name):
    record, run = (experiments.part(name, module) for module in ("record", "run"))

    assert record.Record.__dataclass_params__.frozen
    assert record.SCHEMA == record.Record.__dataclass_fields__["schema"].default >= 1
    assert callable(record.upgrade)
    assert run.VERSION >= 1
    assert callable(run.key)
    assert callable(run.run)


def test_a_missing_module_of_an_experiment_is_none():
    assert experiments.part("paper_tables", "figures") is None
    assert experiments.part("natural_language", "record").Record is Record


@pytest.mark.parametrize("kind", KEYS)
def test_keys_have_not_changed(runner, kind):
    expected_version, *expected = KEYS[kind]

    assert version(kind) == expected_version
    assert [runner.key(kind, replace(smoke(kind), seed=seed)) for seed in (0, 3)] == expected


@pytest.mark.parametrize("kind", ["synthetic", "pretraining", "alignment", "paper_tables", "trajectory"])
def test_another_version_is_another_key(runner, kind, monkeypatch):
    before = runner.key(kind, smoke(kind))
    place = "taskclust.runner.TRAJECTORY_VERSION" if kind == "trajectory" else experiments.part(kind, "run").__name__
    monkeypatch.setattr(place if kind == "trajectory" else f"{place}.VERSION", 99)

    assert runner.key(kind, smoke(kind)) != before


@pytest.mark.parametrize("kind", ["synthetic", "pretraining", "alignment", "paper_tables", "trajectory"])
def test_another_seed_is_another_key(runner, kind):
    assert runner.key(kind, replace(smoke(kind), seed=1)) != runner.key(kind, smoke(kind))


def test_a_changed_probe_changes_the_key_of_the_scores_and_not_of_the_training(runner):
    config = smoke("synthetic")
    other = replace(config, probe=replace(config.probe, neighbors=1))

    assert runner.key("trajectory", other) == runner.key("trajectory", config)
    assert runner.key("synthetic", other) != runner.key("synthetic", config)


def test_a_language_models_key_does_not_depend_on_its_location(runner, monkeypatch):
    run = experiments.part("natural_language", "run")
    monkeypatch.setattr(run, "locate", lambda source, _store: (source, "held"))

    keys = {runner.key("natural_language", LanguageConfig(source=source)) for source in ("some/model", "a/copy")}

    assert keys == {"2695f1b932fb3dcf415b"}
    monkeypatch.setattr(run, "VERSION", 99)
    assert runner.key("natural_language", LanguageConfig()) not in keys
