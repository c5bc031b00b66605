"""Align a base model with four methods, and with switches trained on shuffled labels as negative control (§4.2)."""

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from taskclust.config import AlignmentConfig, digest
from taskclust.data import AlignmentData, generate_alignment
from taskclust.experiments.alignment.record import Accuracy, Method, Record
from taskclust.models import Model, Trainer, open_checkpoint
from taskclust.models.alignment import (
    AlignedModel,
    accuracy,
    align,
    assemble,
    freeze_trunk,
    instances_of,
    read,
    switch_examples,
    train_switch,
)
from taskclust.runner import TRAJECTORY_VERSION, Runner, read_training
from taskclust.store.codec import columns
from taskclust.store.provenance import provenance

#: Increased by hand when the code computes something else; part of every key.
VERSION = 2

#: A trainer's columns, by the names that the record gives them.
_CURVES = {"source": "validation_accuracy", "others": "subset_accuracy", "loss": "loss"}


def key(config: AlignmentConfig, runner: Runner) -> str:  # noqa: ARG001 - the key depends only on the settings
    """The key under which a resolved configuration's record is stored."""
    return digest(VERSION, TRAJECTORY_VERSION, config)


def run(config: AlignmentConfig, runner: Runner, unfinished: Path) -> Record:
    """The record of a seed: the base model, the four methods, and the negative controls of the switches.

    The base model's training is stored as a record of its own.
    """
    trained = runner.trajectory(config.stage("training"))
    training = read_training(trained)
    folder = trained / "checkpoints" / f"{training.best_epoch:04d}"
    base = open_checkpoint(folder).to(runner.device).float().eval()
    started = time.monotonic()
    data = generate_alignment(config.data, config.seed)
    before = _measure(base, data)
    methods: dict[str, Method] = {}
    failure = training.failure
    earlier = 0.0  # seconds of fine-tuning before an interruption
    tunings: tuple[Literal["direct", "head"], ...] = ("direct", "head")
    for name in tunings:
        trainer = fine_tuner(name, config, base, data, runner.device)
        begun = time.monotonic()
        stage = runner.run(trainer, unfinished / name, name)
        earlier += stage.seconds - (time.monotonic() - begun)
        failure = failure or stage.failure
        history = {ours: np.array(columns(trainer.history)[theirs]) for ours, theirs in _CURVES.items()}
        best = trainer.best_epoch
        found = _method(trainer.best_model(), data, before)
        methods[name] = replace(found, history=history, best_epoch=best)
    shuffled: dict[str, Method] = {}
    kinds: tuple[Literal["linear", "mlp"], ...] = ("linear", "mlp")
    for kind in kinds:
        aligned = switched(kind, config, base, data)
        methods[kind] = _method(aligned, data, before)
        shuffled[kind] = _method(shuffle_switch(aligned, config, data), data, before)
    return Record(
        config=config,
        failure=failure,
        base=before,
        methods=methods,
        shuffled=shuffled,
        base_history={name: np.array(v, dtype=float) for name, v in columns(training.history).items()},
        seconds={"train": training.seconds, "align": earlier + time.monotonic() - started},
        provenance=provenance(runner.device),
    )


def fine_tuner(
    name: Literal["direct", "head"], config: AlignmentConfig, base: Model, data: AlignmentData, device: str
) -> Trainer:
    """A trainer, not yet run, that fine-tunes a copy of ``base`` on the new data set.

    "direct" fine-tunes all weights, "head" only those of the language head. In place of its training subset the trainer
    has the validation set of the other tasks. It is measured every epoch and does not influence which epoch is kept.
    """
    model = copy.deepcopy(base)
    if name == "head":
        freeze_trunk(model)
    dataset = replace(data.base, train=data.train, subset=data.others, validation=data.validation)
    return Trainer(config.stage(name), dataset, device, model=model)


def switched(kind: Literal["linear", "mlp"], config: AlignmentConfig, base: Model, data: AlignmentData) -> AlignedModel:
    """A copy of ``base`` with a trained switch of ``kind`` and a trained new head."""
    return align(
        copy.deepcopy(base),
        instances_of(data.train),
        instances_of(data.one_each),
        generator=torch.Generator().manual_seed(_seed(config, 1)),
        config=replace(config.switch, kind=kind),
        validation=instances_of(data.validation),
    )


def shuffle_switch(aligned: AlignedModel, config: AlignmentConfig, data: AlignmentData) -> AlignedModel:
    """The negative control: the same model and heads with a switch trained on shuffled labels."""
    generator = torch.Generator().manual_seed(_seed(config, 2))
    parts = (read(aligned.base, instances_of(split)) for split in (data.train, data.one_each))
    states, labels = switch_examples(*parts)
    labels = labels[torch.randperm(len(labels), generator=generator).to(labels.device)]
    switch = train_switch(states, labels, replace(config.switch, kind=aligned.config.switch), generator)
    return assemble(aligned.base, aligned.new_head, switch)


def _seed(config: AlignmentConfig, purpose: int) -> int:
    return int(np.random.SeedSequence([config.seed, 0xA119, purpose]).generate_state(1)[0])


def _measure(model: Model | AlignedModel, data: AlignmentData) -> Accuracy:
    return Accuracy(
        source=accuracy(model, instances_of(data.validation)), others=accuracy(model, instances_of(data.others))
    )


def _method(model: Model | AlignedModel, data: AlignmentData, before: Accuracy) -> Method:
    """The results of a method; ``before`` are the base model's accuracies."""
    now = _measure(model, data)
    fires = None
    if isinstance(model, AlignedModel):
        states = (read(model.base, instances_of(split)).last for split in (data.validation, data.others))
        source, others = (float(model.decide(s).float().mean()) for s in states)
        fires = Accuracy(source=source, others=others)
    return Method(source=now.source, others=now.others, drop=before.others - now.others, fires=fires)
