"""Which share of the variance must the task have for k-means to find tasks? A simulation with the paper's labels.

``python -m studies.planted reports/search/share-needed.json RECORD ...`` reads the variance components of the top
layer's states at the end of training from records (:mod:`taskclust.probes.components`). It makes states as sums of
random class means with these shares, but varies the task's, and clusters them like real states. ``python -m
studies.planted_report`` makes the table and figure from the file.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import SPLITS, DataConfig, ProbeConfig, require
from taskclust.data import Split, generate
from taskclust.exchange import read_record
from taskclust.experiments.synthetic.record import Record
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.components import instance_identities
from taskclust.store.folders import write_json

#: The simulated shares of the task in the states' variance.
TASK_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
DIMENSIONS = 768
SEEDS = range(5)  # of the data sets whose labels are used


def planted_states(split: Split, shares: Mapping[str, float], rng: np.random.Generator) -> Float[Tensor, "N D"]:
    """States that are sums of random class means, one per identity, with the given shares of the variance.

    Args:
        split: the split whose labels are used.
        shares: the share of each of :func:`taskclust.probes.components.instance_identities`, and of "instance" (noise).
        rng: draws the class means.
    """
    identities = {**instance_identities(split), "instance": np.arange(split.n_instances)}
    states = np.zeros((split.n_instances, DIMENSIONS))
    for name, share in shares.items():
        values = np.unique(identities[name], return_inverse=True)[1]
        codes = rng.normal(size=(values.max() + 1, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        states += np.sqrt(share) * codes[values]
    return torch.as_tensor(states, dtype=torch.float32)


def measured_shares(records: Sequence[Record], split: str) -> dict[str, float]:
    """The mean shares of the top layer at the end of training; negative estimates count as 0."""
    names = records[0].components[split]
    means = {name: float(np.mean([r.components[split][name][-1, -1] for r in records])) for name in names}
    kept = {name: max(0.0, mean) for name, mean in means.items()}
    return {name: share / sum(kept.values()) for name, share in kept.items()}


def with_task_share(shares: Mapping[str, float], task: float) -> dict[str, float]:
    """The shares with another value for the task, and the others scaled in proportion."""
    others = sum(share for name, share in shares.items() if name != "task")
    return {name: task if name == "task" else share / others * (1 - task) for name, share in shares.items()}


def planted_f1(
    name: str, shares: Mapping[str, float], probe: ProbeConfig, seeds: Sequence[int]
) -> Float[np.ndarray, "S T 2"]:
    """F1 by task on S data sets for each of the T task shares, raw and after t-SNE."""
    found = []
    for seed in seeds:
        split = generate(DataConfig(), seed).splits[name]
        rng = np.random.default_rng(seed)
        states = torch.stack([planted_states(split, with_task_share(shares, task), rng) for task in TASK_SHARES])
        result = cluster_scores(states, split, probe, with_tsne=True, seed=seed)
        found.append([table["task"]["f1"] for table in (result.raw, result.tsne)])
    return np.array(found).transpose(0, 2, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Raises:
        ConfigError: a record has other data than the paper's.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to", type=Path, help="the JSON file to write")
    parser.add_argument("records", type=Path, nargs="+", help="records of the paper profile")
    options = parser.parse_args(arguments)
    records = [read_record(path) for path in options.records]
    for path, record in zip(options.records, records, strict=True):
        is_papers = record.config.data == DataConfig()
        require(is_papers, "record", str(path), "it has other data; give records of the paper profile")
    found: dict[str, Any] = {
        "task_shares": TASK_SHARES,
        "records": [str(path) for path in options.records],
        "splits": {},
    }
    for split in SPLITS:
        if all(split in record.components for record in records):
            shares = measured_shares(records, split)
            f1 = planted_f1(split, shares, ProbeConfig(), SEEDS)
            found["splits"][split] = {"measured": shares, "f1": f1.tolist()}
    write_json(options.to, found)


if __name__ == "__main__":
    main()
