"""Invented records: of a world in which the paper is right, and of worlds in which nothing is learned."""

from dataclasses import replace

import numpy as np

from taskclust.config import LABELS, SPLITS, ExperimentConfig
from taskclust.experiments.synthetic.record import BagNeighbors, ByMapping, Identities, Merging, Record
from taskclust.probes.scores import ClusterScores, Epochs, Neighbors

SEEDS = (0, 1, 2, 3, 4)
LAYERS = 7
EPOCHS = 200
METRICS = ("f1", "ari", "ami")
ACCURACIES = ("validation_accuracy", "subset_accuracy", "hard_accuracy")


def probed(best_epoch):
    """The probed epochs of a record."""
    return sorted({0, 20, 50, 100, EPOCHS, best_epoch})


def record(seed, best_epoch, curves, *, separated, knn, loss, accuracy):
    """A record with the same scores for every split and label; curves are [epoch, layer]."""
    table = {label: dict(curves) for label in LABELS}
    table["task"]["hard_separated"] = separated
    epochs = probed(best_epoch)
    embedding = np.random.default_rng(seed).normal(size=(len(epochs), 6, 3))
    bag = {label: {"f1": np.array([0.5]), "hard_separated": np.array([0.05])} for label in LABELS}
    f1 = curves["f1"]
    components = {split: {"task": f1, "instance": curves["ari"]} for split in SPLITS}
    history = dict.fromkeys(ACCURACIES, accuracy)
    return Record(
        config=replace(ExperimentConfig(), seed=seed),
        failure=None,
        best_epoch=best_epoch,
        history={"loss": np.concatenate([[np.nan], loss[1:]]), **history},
        epochs=Epochs(raw=epochs, tsne=epochs),
        scores={split: ClusterScores(raw=table, tsne=table, top_embedding=embedding) for split in SPLITS},
        components=components,
        instruction_end_components=components,
        knn=Neighbors(percentage=knn, accuracy=knn),
        bag_of_symbols={split: ClusterScores(raw=bag, tsne=bag) for split in SPLITS},
        bag_knn=BagNeighbors(percentage=0.7, accuracy=0.6),
        merging=Merging(states=f1[:, -1] - f1[0, -1], bag=np.array(0.0)),
        by_mapping={
            split: {
                name: ByMapping(states=f1[:, -1], bag=np.array(0.2), unmerged=np.array(0.4))
                for name in ("f1", "merging")
            }
            for split in SPLITS
        },
        identities={
            split: Identities(task=np.array([0, 0, 1, 1, 2, 2]), is_hard=np.array([False, True] * 3))
            for split in SPLITS
        },
        seconds={"train": 2.0, "probe": 1.0},
        provenance={"commit": "0123abc", "device": "a pocket calculator", "threads": 1},
    )


def perfect_record(seed):
    """A record that agrees with the paper: scores rise with training and depth, accuracy rises late, clusters stay."""
    rng = np.random.default_rng(seed)
    best_epoch = 49 + seed
    learned = np.interp(probed(best_epoch), [0, 20, 50, EPOCHS], [0, 0.5, 0.97, 1])
    curve = 0.3 + (0.66 + 0.02 * rng.random()) * learned[:, None] * np.linspace(0, 1, LAYERS)
    shuffled = rng.normal(0.2, scale=0.01, size=curve.shape)
    epoch = np.arange(EPOCHS + 1)
    return record(
        seed,
        best_epoch,
        {**dict.fromkeys(METRICS, curve), "shuffled_f1": shuffled, "shuffled_ari": shuffled - 0.2},
        separated=curve,
        knn=curve,
        loss=1 + 3 * np.exp(-epoch / 8),
        accuracy=1 / (1 + np.exp((30 + seed - epoch) / 2)),
    )


def dead_record(seed, *, level=0.3, gain=0.0, noise=0.0, lucky=False):
    """A record of a model that never learns: every epoch is like epoch 0.

    Args:
        seed: the seed of the level and of the noise.
        level: the approximate level of all scores.
        gain: the rise of scores from the lowest layer to the top, which needs no training.
        noise: the standard deviation of each score, as of another start of t-SNE.
        lucky: accuracy is 0 except for rare hits, so that any epoch may be the best.
    """
    rng = np.random.default_rng(seed)
    accuracy = np.full(EPOCHS + 1, 0.04)
    if lucky:
        hits = rng.random(EPOCHS + 1) < 0.02
        accuracy = 0.002 * (hits | (np.arange(EPOCHS + 1) == rng.integers(EPOCHS)))
    best_epoch = int(accuracy.argmax())
    shape = len(probed(best_epoch)), LAYERS

    def still(height, slope=0.0):
        layers = height + 0.02 * rng.random() + slope * np.linspace(0, 1, LAYERS)
        return layers + rng.normal(scale=noise, size=shape)

    curves = {metric: still(level, gain) for metric in METRICS}
    return record(
        seed,
        best_epoch,
        {**curves, "shuffled_f1": still(0.2), "shuffled_ari": still(0.0)},
        separated=still(0.1),
        knn=still(level, gain),
        loss=4 + rng.normal(scale=0.02, size=EPOCHS + 1),
        accuracy=accuracy,
    )


def world(make, first=0, **settings):
    """One record per seed."""
    return [make(first + seed, **settings) for seed in SEEDS]
