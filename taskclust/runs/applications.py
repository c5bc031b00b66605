"""The two applications put together: pre-training by task identity (§4.1) and alignment with a switch (§4.2).

Both are given a ``train`` that runs a trainer to its end; where its progress is kept is the runner's affair.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from taskclust.config import ARMS, SPLITS, AlignmentConfig, PretrainingConfig, to_dict
from taskclust.data import AlignmentData, Dataset, generate, generate_alignment
from taskclust.data.identities import identity_dataset
from taskclust.models import Decoder, Trainer
from taskclust.models.alignment import (
    AlignedModel,
    Instance,
    accuracy,
    align,
    assemble,
    freeze_trunk,
    instances_of,
    read,
    switch_examples,
    train_switch,
)
from taskclust.models.pretraining import pretrainer, tuner
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.hidden import hidden_states

Record = dict[str, Any]


class Stage(NamedTuple):
    """How a training went: seconds, why it failed (None if it did not), and the folder of its checkpoints."""

    seconds: float
    failure: str | None
    checkpoints: Path


#: Run a trainer to the end of its epochs, under a name of its own.
Train = Callable[[Trainer, str], Stage]


def pretrain(config: PretrainingConfig, train: Train, device: str) -> Record:
    """Pre-train and tune every arm; probe the identity arm's checkpoints as in §3.2.

    Returns:
        ``pretraining`` and ``tuning``: each arm's ``history`` and ``best_epoch``; ``scores``, ``epochs``: of the
        trigger's states during identity pre-training, shaped as an experiment's, with each start's.
    """
    dataset = generate(config.data, config.seed)
    record: Record = {"config": to_dict(config), "failure": None, "pretraining": {}, "tuning": {}, "seconds": {}}
    for arm in ARMS:  # the first is identity, which says how long its null lasts
        epochs = record["pretraining"]["identity"]["best_epoch"] if arm == "shuffled" else None
        first, model = pretrainer(arm, config, dataset, device, epochs=epochs), None
        if first is not None:
            stage = _note(record, "pretraining", arm, first, train)
            model = first.best_model()
            if arm == "identity":
                started = time.monotonic()
                record |= probe_identities(stage.checkpoints, dataset, config, device)
                record["seconds"]["probe"] = time.monotonic() - started
        _note(record, "tuning", arm, tuner(config, dataset, model, device), train)
    return record


def _note(record: Record, name: str, arm: str, trainer: Trainer, train: Train) -> Stage:
    stage = train(trainer, f"{name}-{arm}")
    record[name][arm] = {"history": trainer.history, "best_epoch": trainer.best_epoch}
    record["failure"] = record["failure"] or stage.failure
    record["seconds"][f"{name} {arm}"] = stage.seconds
    return stage


def probe_identities(checkpoints: Path, dataset: Dataset, config: PretrainingConfig, device: str) -> Record:
    """Cluster the states of the trigger, which predicts the identity as the input token predicts the output."""
    marked = identity_dataset(dataset)
    epochs = sorted(int(path.name) for path in checkpoints.iterdir())
    with_tsne = [epochs[0], epochs[-1]] if config.probe.tsne_at == "few" else epochs
    scores: Record = {split: {"raw": [], "tsne": [], "starts": []} for split in SPLITS}
    for epoch in epochs:
        model = Decoder.from_pretrained(checkpoints / f"{epoch:04d}").to(device)
        for name in SPLITS:
            split = marked.splits[name]
            states = hidden_states(model, split, before_final_norm=config.probe.before_final_norm).input_token
            found = cluster_scores(states, split, config.probe, with_tsne=epoch in with_tsne, seed=config.seed)
            for part, rows in scores[name].items():
                if part in found:
                    rows.append(found[part])
    return {
        "epochs": {"raw": epochs, "tsne": with_tsne},
        "scores": {name: {space: _turn(rows) for space, rows in part.items()} for name, part in scores.items()},
    }


def _turn(rows: list[Record]) -> Record:
    """A list of tables, label -> metric -> layers, as one table of lists."""
    return {
        label: {metric: [row[label][metric] for row in rows] for metric in table} for label, table in rows[0].items()
    }


def compare_methods(config: AlignmentConfig, base: Decoder, train: Train, device: str) -> Record:
    """Align ``base`` in the four ways, and with switches trained on shuffled labels.

    Returns:
        ``base`` and ``methods``, and ``shuffled`` for the two switches: accuracy on unseen toxic instructions with the
        healthy outputs ("source") and on unseen instructions of all other tasks ("others"), fractions; ``drop``, how
        much of the latter the base lost; ``fires``, how often a switch took either for a source's.
    """
    started = time.monotonic()
    data = generate_alignment(config.data, config.seed)
    base = base.eval()
    record: Record = {"config": to_dict(config), "failure": None, "base": _measure(base, data), "seconds": {}}
    methods: Record = {}
    tunings: tuple[Literal["direct", "head"], ...] = ("direct", "head")
    for name in tunings:
        trainer = fine_tuner(name, config, base, data, device)
        stage = train(trainer, name)
        record["failure"] = record["failure"] or stage.failure
        curves = {"source": "validation_accuracy", "others": "subset_accuracy", "loss": "loss"}
        history = [{ours: row[theirs] for ours, theirs in curves.items()} for row in trainer.history]
        best = trainer.best_epoch
        methods[name] = {**_measure(trainer.best_model(), data), "history": history, "best_epoch": best}
    shuffled: Record = {}
    kinds: tuple[Literal["linear", "mlp"], ...] = ("linear", "mlp")
    for kind in kinds:
        aligned = switched(kind, config, base, data)
        methods[kind] = _measure(aligned, data)
        shuffled[kind] = _measure(shuffle_switch(aligned, config, data), data)
    for row in (*methods.values(), *shuffled.values()):
        row["drop"] = record["base"]["others"] - row["others"]
    record["seconds"]["align"] = time.monotonic() - started
    return {**record, "methods": methods, "shuffled": shuffled}


def fine_tuner(
    name: Literal["direct", "head"], config: AlignmentConfig, base: Decoder, data: AlignmentData, device: str
) -> Trainer:
    """Fine-tuning of all of a copy of ``base``, "direct", or of its "head" alone, on the new data set, not yet run.

    The trainer's subset is the other tasks' validation set: it is measured every epoch and has no say in what is kept.
    """
    model = copy.deepcopy(base)
    if name == "head":
        freeze_trunk(model)
    dataset = replace(data.base, train=data.train, subset=data.others, validation=data.validation)
    return Trainer(config.stage(name), dataset, device, model=model)


def switched(
    kind: Literal["linear", "mlp"], config: AlignmentConfig, base: Decoder, data: AlignmentData
) -> AlignedModel:
    """``base`` with a switch of ``kind`` and a new head."""
    return align(
        copy.deepcopy(base),
        instances_of(data.train),
        instances_of(data.one_each),
        generator=torch.Generator().manual_seed(_seed(config, 1)),
        config=replace(config.switch, kind=kind),
        validation=instances_of(data.validation),
    )


def shuffle_switch(aligned: AlignedModel, config: AlignmentConfig, data: AlignmentData) -> AlignedModel:
    """The same model and heads with a switch trained on shuffled labels: the null."""
    generator = torch.Generator().manual_seed(_seed(config, 2))
    parts = (read(aligned.base, instances_of(split)) for split in (data.train, data.one_each))
    states, labels = switch_examples(*parts)
    labels = labels[torch.randperm(len(labels), generator=generator).to(labels.device)]
    switch = train_switch(states, labels, replace(config.switch, kind=aligned.config.switch), generator)
    return assemble(aligned.base, aligned.new_head, switch)


def _seed(config: AlignmentConfig, purpose: int) -> int:
    return int(np.random.SeedSequence([config.seed, 0xA119, purpose]).generate_state(1)[0])


def _measure(model: Decoder | AlignedModel, data: AlignmentData) -> Record:
    sets: dict[str, list[Instance]] = {"source": instances_of(data.validation), "others": instances_of(data.others)}
    row: Record = {name: accuracy(model, instances) for name, instances in sets.items()}
    if isinstance(model, AlignedModel):
        states = {name: read(model.base, instances).last for name, instances in sets.items()}
        row["fires"] = {name: float(model.decide(s).float().mean()) for name, s in states.items()}
    return row
