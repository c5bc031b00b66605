"""Records of every earlier format are read as today's; older records belong to the default numbers of starts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from taskclust import experiments
from taskclust.config import ProbeConfig
from taskclust.store import RecordError, decode, encode
from tests.experiments.made import FORMER, RECORDS, plain


def read(name, value):
    form = experiments.part(name, "record")
    return decode(json.dumps(value).encode(), form.Record, form.upgrade)


@pytest.mark.parametrize("name", FORMER)
def test_an_older_format_is_read_exactly_as_todays(name):
    found = read(name, FORMER[name](RECORDS[name]))

    assert encode(found) == encode(RECORDS[name])
    assert found.schema == experiments.part(name, "record").SCHEMA


@pytest.mark.parametrize("name", RECORDS)
def test_todays_format_is_unchanged(name):
    value = plain(RECORDS[name])

    assert experiments.part(name, "record").upgrade(value) is value


@pytest.mark.parametrize("name", ["synthetic", "pretraining"])
def test_losses_that_were_null_before_training_are_nan(name):
    found = read(name, FORMER[name](RECORDS[name]))

    history = found.history if name == "synthetic" else found.tuning["identity"].history
    assert np.isnan(history["loss"]).tolist() == [True] + [False] * (len(history["loss"]) - 1)


def test_an_older_record_without_clusters_by_mapping_says_what_to_do():
    value = FORMER["synthetic"](RECORDS["synthetic"])
    del value["by_mapping"]

    with pytest.raises(RecordError, match=r"by_mapping is missing.*probe its checkpoints again"):
        read("synthetic", value)


def test_missing_ablations_and_training_provenance_are_none():
    value = FORMER["synthetic"](RECORDS["synthetic"])
    del value["f1_without"], value["training_provenance"]

    found = read("synthetic", value)

    assert found.f1_without is found.training_provenance is None


def test_a_language_models_record_without_name_gets_an_empty_one():
    value = FORMER["natural_language"](RECORDS["natural_language"])
    del value["name"]

    assert read("natural_language", value).name == ""


@pytest.mark.parametrize("name", ["synthetic", "pretraining"])
def test_a_record_with_starts_belongs_to_its_own_configuration(name):
    record = RECORDS[name]
    asked = replace(record.config, probe=replace(record.config.probe, tsne_restarts=4))

    assert experiments.part(name, "record").answers(replace(record, config=asked)) == asked


@pytest.mark.parametrize("name", ["synthetic", "pretraining"])
def test_a_record_of_one_embedding_belongs_to_the_default_starts(name):
    record, default = RECORDS[name], ProbeConfig()
    probe = replace(record.config.probe, tsne_restarts=3, kmeans_restarts=10, neighbors=7)
    scores = {split: replace(part, starts={}) for split, part in record.scores.items()}
    made = replace(record, config=replace(record.config, probe=probe), scores=scores)

    found = experiments.part(name, "record").answers(made)

    starts = {"tsne_restarts": default.tsne_restarts, "kmeans_restarts": default.kmeans_restarts}
    assert found == replace(made.config, probe=replace(probe, **starts))


@pytest.mark.parametrize("name", ["alignment", "paper_tables"])
def test_records_without_tsne_belong_to_their_configuration(name):
    assert experiments.part(name, "record").answers(RECORDS[name]) == RECORDS[name].config
