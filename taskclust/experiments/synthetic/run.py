"""Compute the main experiment's record: train a model, then probe every checkpoint (§3.1 to §3.3)."""

import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from taskclust.config import SPLITS, ExperimentConfig, digest, require
from taskclust.data import generate
from taskclust.experiments.synthetic.probing import (
    bag_neighbors,
    bag_scores,
    by_mapping,
    merging_beside_bags,
    probe_checkpoint,
)
from taskclust.experiments.synthetic.record import Identities, Record
from taskclust.models import open_checkpoint
from taskclust.probes.clusters import require_clustered
from taskclust.probes.scores import Epochs, stack
from taskclust.runner import Runner, checkpoint_epochs, read_training, trajectory_key
from taskclust.store.codec import columns
from taskclust.store.provenance import provenance

#: Increased by hand when the code computes something else; part of every key. It is not increased for an additional
#: measurement, because records without it stay valid.
VERSION = 6


def key(config: ExperimentConfig, runner: Runner) -> str:  # noqa: ARG001 - depends only on training and probe
    """The key under which a resolved configuration's record is stored."""
    return digest(VERSION, trajectory_key(config), config.probe)


def run(config: ExperimentConfig, runner: Runner, unfinished: Path) -> Record:  # noqa: ARG001 - probing starts again
    """The record of a seed: the training, and every probe of every checkpoint.

    Raises:
        ConfigError: the untrained model, which all others are compared with, or the last epoch, which is "the end" of
            every statistic, is not among the checkpoints; or a split cannot be clustered. All are checked before
            anything is trained.
    """
    kept, last = config.training.checkpoints, config.training.epochs
    require(kept[:1] == (0,), "training.checkpoints", kept, "begin with 0, the untrained model")
    require(kept[-1] == last, "training.checkpoints", kept, f"end with the last epoch, {last}")
    dataset = generate(config.data, config.seed)
    require_clustered(dataset.splits, config.probe)
    trained = runner.trajectory(config)
    training = read_training(trained)
    epochs = checkpoint_epochs(trained)
    with_tsne = epochs
    if config.probe.tsne_at == "few":
        with_tsne = sorted({epochs[0], training.best_epoch, epochs[-1]})
    started = time.monotonic()
    rows, bar = [], runner.bar(config, "probe", len(epochs))
    for epoch in epochs:
        model = open_checkpoint(trained / "checkpoints" / f"{epoch:04d}").to(runner.device)
        rows.append(probe_checkpoint(model, dataset, config.probe, with_tsne=epoch in with_tsne, seed=config.seed))
        bar.update()
    bar.close()
    layers = {name: scores.layer_embeddings for name, scores in rows[-1].scores.items()}
    rows = [replace(row, scores={n: replace(s, layer_embeddings=None) for n, s in row.scores.items()}) for row in rows]
    found = stack(rows)
    bags = {split: bag_scores(dataset, split, config.probe) for split in SPLITS}
    return Record(
        **{field.name: getattr(found, field.name) for field in fields(found)},
        config=config,
        failure=training.failure,
        best_epoch=training.best_epoch,
        history={name: np.array(values, dtype=float) for name, values in columns(training.history).items()},
        epochs=Epochs(raw=epochs, tsne=with_tsne),
        bag_of_symbols=bags,
        bag_knn=bag_neighbors(dataset, config.probe),
        merging=merging_beside_bags(found.scores, bags),
        by_mapping=by_mapping(found.scores, bags, dataset, config.probe, seed=config.seed),
        identities={
            name: Identities(task=split.labels("task"), is_hard=split.labels("is_hard"))
            for name, split in dataset.splits.items()
            if name in SPLITS
        },
        layers_at_end={name: points for name, points in layers.items() if points is not None},
        seconds={"train": training.seconds, "probe": time.monotonic() - started},
        provenance=provenance(runner.device),
        training_provenance=training.provenance,
    )
