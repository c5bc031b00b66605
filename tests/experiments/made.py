"""Invented records of every experiment, each with every field."""

import json
from dataclasses import replace

import numpy as np

from taskclust import experiments
from taskclust.config import ARMS, PRINTED_PARAMETERS, SPLITS, AlignmentConfig, PretrainingConfig
from taskclust.experiments.alignment.record import Accuracy, Method
from taskclust.experiments.alignment.record import Record as AlignmentRecord
from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.experiments.paper_tables.record import Record as TablesRecord
from taskclust.experiments.pretraining.record import Record as PretrainingRecord
from taskclust.experiments.pretraining.record import Stage
from taskclust.probes.scores import ClusterScores, Epochs
from taskclust.store import encode
from tests.language_records import language_record
from tests.records import perfect_record

WEIGHTS = "0123456789abcdef0123"  # a language model's key depends on its weights, which are not in the record
FACTS = {"commit": "0123abc", "threads": 1, "uncommitted_changes": False, "device": None}


def synthetic_record(seed=3):
    """A record of the main experiment, with NaN in its history and in a negative control."""
    record = perfect_record(seed)
    config = replace(record.config, training=replace(record.config.training, precision="float32"))
    return replace(
        record,
        config=config,
        scores={split: replace(part, starts=_starts(part)) for split, part in record.scores.items()},
        merging=replace(record.merging, bag=np.array(np.nan)),
        f1_without={split: {"nothing": np.array([0.1, 0.2]), "input": np.array([1 / 3, 0.4])} for split in SPLITS},
        training_provenance=FACTS,
    )


def _starts(part):
    return {
        label: {metric: np.stack([values, values], axis=-1) for metric, values in table.items()}
        for label, table in part.tsne.items()
    }


def pretraining_record(seed=1):
    """Of §4.1."""
    config = PretrainingConfig(seed=seed)
    brief = replace(config.training, precision="float32")
    values = np.array([[0.25, 1 / 3], [0.5, 0.75]])
    table = {"task": {"f1": values}}
    history = {"loss": np.array([np.nan, 1.5, 0.1]), "validation_accuracy": np.array([0.0, 0.5, 1.0])}
    return PretrainingRecord(
        config=replace(config, pretraining=brief, training=brief),
        failure="learning_rate=1: the loss became nan in epoch 1",
        pretraining={arm: Stage(history=history, best_epoch=1) for arm in ARMS if arm != "none"},
        tuning={arm: Stage(history=history, best_epoch=2) for arm in ARMS},
        epochs=Epochs(raw=[0, 25], tsne=[0, 25]),
        scores={
            split: ClusterScores(raw=table, tsne=table, starts={"task": {"f1": values[..., None]}}) for split in SPLITS
        },
        seconds={"probe": 1.25},
        provenance=FACTS,
    )


def alignment_record(seed=2):
    """Of §4.2."""
    config = AlignmentConfig(seed=seed)
    history = {name: np.array([0.5, 1.0]) for name in ("source", "others")} | {"loss": np.array([np.nan, 0.25])}
    tuned = Method(source=1.0, others=0.75, drop=0.125, history=history, best_epoch=1)
    switched = Method(source=1.0, others=0.8, drop=0.075, fires=Accuracy(source=0.9, others=0.1))
    return AlignmentRecord(
        config=replace(
            config,
            **{name: replace(getattr(config, name), precision="float32") for name in ("training", "direct", "head")},
        ),
        failure=None,
        base=Accuracy(source=0.0, others=0.875),
        methods={"direct": tuned, "head": tuned, "linear": switched, "mlp": switched},
        shuffled={"linear": switched, "mlp": switched},
        base_history=history,
        seconds={"train": 2.0, "align": 1.0},
        provenance=FACTS,
    )


def tables_record(seed=0):
    """Of the counted tables."""
    return TablesRecord(
        config=TablesConfig(seed=seed),
        sizes={"train": 7275, "subset": 180, "validation": 315},
        counts={"tasks": [50], "mappings": [5]},
        parameters={str(width): printed for width, printed in PRINTED_PARAMETERS.items()},
        wide_parameters={"32": 65_000},
        seconds={"count": 0.5},
        provenance=FACTS,
    )


#: One record of each experiment, by its name.
RECORDS = {
    "alignment": alignment_record(),
    "natural_language": language_record(draws=1),
    "paper_tables": tables_record(),
    "pretraining": pretraining_record(),
    "synthetic": synthetic_record(),
}


def _rows_of(history):
    """Columns as rows, the former format of histories."""
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]


def plain(record):
    """The record as plain JSON of today's format."""
    return json.loads(encode(record))


def _former_synthetic(record):
    """Version 6 (with that schema or none): a history of rows, and fields that no longer exist."""
    value = plain(record)
    del value["schema"]
    value["history"] = _rows_of(value["history"])
    return {**value, "dataset": {"tasks": 50, "example_patterns": ["(a|b)*"]}, "replayed": True}


def _former_pretraining(record):
    value = plain(record)
    del value["schema"]
    for name in ("pretraining", "tuning"):
        for stage in value[name].values():
            stage["history"] = _rows_of(stage["history"])
    for scores in value["scores"].values():  # there were no such parts
        for part in ("mapping", "divergence", "top_embedding"):
            del scores[part]
    return value


def _former_alignment(record):
    value = plain(record)
    del value["schema"]
    value["base_history"] = _rows_of(value["base_history"])
    for method in (*value["methods"].values(), *value["shuffled"].values()):
        for part in [part for part, found in method.items() if found is None]:
            del method[part]
        if "history" in method:
            method["history"] = _rows_of(method["history"])
    return value


def _former_natural_language(record):
    value = plain(record)
    del value["schema"], value["failure"]
    value["architecture"]["class"] = value["architecture"].pop("class_name")
    (twin,), reading = value.pop("untrained"), value.pop("reading")
    value["sharing"] = {"is_used": reading.pop("way") == "instructions once", **reading}
    value["nulls"] = {"twin": twin, "bag": value.pop("bag")}
    del value["config"]["untrained"]
    value["config"]["twin_every"] = 5
    return value


#: By experiment, a record -> its plain JSON as version 0.1 wrote it.
FORMER = {
    "synthetic": _former_synthetic,
    "pretraining": _former_pretraining,
    "alignment": _former_alignment,
    "natural_language": _former_natural_language,
}


def key_of(kind, record):
    """The key of the record's configuration."""
    form = experiments.part(kind, "record")
    if not hasattr(form, "answers"):
        return WEIGHTS
    return experiments.part(kind, "run").key(form.answers(record), None)


def put(store, kind, record):
    return store.obtain(kind, key_of(kind, record), lambda folder: (folder / "record.json").write_bytes(encode(record)))
