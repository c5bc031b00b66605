"""Compute the pre-training experiment's record: pre-train and tune every arm, and probe the identity arm (§4.1)."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from taskclust.config import ARMS, SPLITS, PretrainingConfig, digest
from taskclust.data import Dataset, generate
from taskclust.data.identities import identity_dataset
from taskclust.experiments.pretraining.arms import pretrainer, tuner
from taskclust.experiments.pretraining.record import Record, Stage
from taskclust.models import Trainer, open_checkpoint
from taskclust.probes.clusters import cluster_scores, require_clustered
from taskclust.probes.hidden import hidden_states
from taskclust.probes.scores import ClusterScores, Epochs, stack
from taskclust.runner import TRAJECTORY_VERSION, Runner
from taskclust.store.codec import columns
from taskclust.store.provenance import provenance

#: Increased by hand when the code, its probes included, computes something else; part of every key.
VERSION = 3


def key(config: PretrainingConfig, runner: Runner) -> str:  # noqa: ARG001 - the key depends only on the settings
    """The key under which a resolved configuration's record is stored."""
    return digest(VERSION, TRAJECTORY_VERSION, config)


def run(config: PretrainingConfig, runner: Runner, unfinished: Path) -> Record:
    """The record of a seed: every arm pre-trained and tuned, and the identity arm's checkpoints probed as in §3.2.

    If a training of one arm fails there is still a record, and its ``failure`` says so.
    """
    dataset = generate(config.data, config.seed)
    require_clustered(dataset.splits, config.probe)
    pretraining: dict[str, Stage] = {}
    tuning: dict[str, Stage] = {}
    seconds: dict[str, float] = {}
    failures: list[str] = []
    probed: tuple[Epochs, dict[str, ClusterScores]] | None = None

    def train(trainer: Trainer, name: str, arm: str) -> Stage:
        took, failure, _ = runner.run(trainer, unfinished / f"{name}-{arm}", f"{name}-{arm}")
        seconds[f"{name} {arm}"] = took
        failures.extend([failure] if failure else [])
        history = {column: np.array(values) for column, values in columns(trainer.history).items()}
        return Stage(history=history, best_epoch=trainer.best_epoch)

    for arm in ARMS:  # identity comes first: its best epoch sets the length of its negative control
        epochs = pretraining["identity"].best_epoch if arm == "shuffled" else None
        first, model = pretrainer(arm, config, dataset, runner.device, epochs=epochs), None
        if first is not None:
            pretraining[arm] = train(first, "pretraining", arm)
            model = first.best_model()
            if arm == "identity":
                started = time.monotonic()
                probed = probe_identities(
                    unfinished / "pretraining-identity" / "checkpoints", dataset, config, runner.device
                )
                seconds["probe"] = time.monotonic() - started
        tuning[arm] = train(tuner(config, dataset, model, runner.device), "tuning", arm)
    assert probed is not None  # identity is one of the arms
    return Record(
        config=config,
        failure=failures[0] if failures else None,
        pretraining=pretraining,
        tuning=tuning,
        epochs=probed[0],
        scores=probed[1],
        seconds=seconds,
        provenance=provenance(runner.device),
    )


def probe_identities(
    checkpoints: Path, dataset: Dataset, config: PretrainingConfig, device: str
) -> tuple[Epochs, dict[str, ClusterScores]]:
    """The cluster scores of the trigger's states at every checkpoint of identity pre-training.

    The model predicts the identity at the trigger, as it predicts the output at the input token.

    Returns:
        The probed epochs, and the scores by split, with an epoch axis.
    """
    marked = identity_dataset(dataset)
    epochs = sorted(int(path.name) for path in checkpoints.iterdir())
    with_tsne = [epochs[0], epochs[-1]] if config.probe.tsne_at == "few" else epochs
    rows: dict[str, list[ClusterScores]] = {split: [] for split in SPLITS}
    for epoch in epochs:
        model = open_checkpoint(checkpoints / f"{epoch:04d}").to(device)
        for name in SPLITS:
            split = marked.splits[name]
            states = hidden_states(model, split, before_final_norm=config.probe.before_final_norm).input_token
            found = cluster_scores(states, split, config.probe, with_tsne=epoch in with_tsne, seed=config.seed)
            rows[name].append(found)
    kept = {
        name: replace(stack(part), mapping={}, divergence=None, top_embedding=None, layer_embeddings=None)
        for name, part in rows.items()
    }
    return Epochs(raw=epochs, tsne=with_tsne), kept
