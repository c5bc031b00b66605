"""Does k-means miss task clusters that other algorithms find, or that appear with more clusters than tasks?

``python -m studies.clusterings TABLE.md RECORD.json...`` writes two tables: F1 by task of other algorithms on the
embeddings of records, and of k-means with more clusters, compared with the bag-of-symbols baseline.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from studies import command_line, require_own
from studies.algorithms import ALGORITHMS, majority_scores, task_f1
from taskclust.config import SPLITS, DataConfig, ProbeConfig, digest, require
from taskclust.data import Dataset, generate
from taskclust.exchange import read_record
from taskclust.experiments.synthetic.probing import bag_of_symbols
from taskclust.experiments.synthetic.record import Record
from taskclust.probes.tsne import tsne

#: Clusters per task; we take the paper's scores to be for one.
CLUSTERS_A_TASK = (1, 2, 3, 5)


def clustering_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per model and split: the mean over seeds and, in brackets, the highest."""
    rows = []
    for about, group in _models(records):
        for split in SPLITS:
            found = []
            for record in group:
                points = _embeddings(record, split)[-1]
                found.append(task_f1(points, record.identities[split].task))
            f1 = {name: [row[name] for row in found] for name in ALGORITHMS}
            cells = {name: f"{np.mean(values):.2f} ({max(values):.2f})" for name, values in f1.items()}
            rows.append({**about, "split": split, **cells})
    return rows


def majority_rows(records: Sequence[Record], bags: dict[int, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """One row per model, split and number of clusters: F1 by the clusters' majority and, in brackets, the ARI.

    Args:
        records: the records, whose first and last embeddings are clustered.
        bags: the embedding of the bag-of-symbols baseline, by seed and split.
    """
    rows = []
    for about, group in _models(records):
        for split in SPLITS:
            for a_task in CLUSTERS_A_TASK:
                found: dict[str, list[tuple[float, float]]] = {"untrained": [], "at the end": [], "bag of symbols": []}
                for record in group:
                    tasks = record.identities[split].task
                    first, *_, last = _embeddings(record, split)
                    n_clusters = a_task * len(np.unique(tasks))
                    for name, points in zip(found, (first, last, bags[record.config.seed][split]), strict=True):
                        found[name].append(majority_scores(np.array(points), tasks, n_clusters))
                cells = {name: "{:.2f} ({:.2f})".format(*np.mean(pairs, axis=0)) for name, pairs in found.items()}
                rows.append({**about, "split": split, "clusters a task": a_task, **cells})
    return rows


def _models(records: Sequence[Record]) -> list[tuple[dict[str, Any], list[Record]]]:
    """The records of each model, with the model's columns."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        training = replace(record.config.training, precision="auto")  # a seed counts once, in either precision
        groups.setdefault(digest(record.config.model, training), []).append(record)
    found = []
    for group in groups.values():
        seeds = [record.config.seed for record in group]
        require(len(set(seeds)) == len(seeds), "seed", seeds, "two records have one seed and setting; leave one out")
        model = group[0].config.model
        about = {"width": model.width, "norm": model.norm, "head": "tied" if model.tied_head else "its own"}
        about["dropout in the attention"] = "yes" if "attention" in model.dropout_at else "no"
        found.append(({**about, "seeds": len(group)}, group))
    return sorted(found, key=lambda pair: tuple(pair[0].values()))


def _embeddings(record: Record, split: str) -> np.ndarray:
    """The top layer's embedding at each checkpoint, [epoch, point, component]."""
    points = record.scores[split].top_embedding
    assert points is not None  # only the baseline's scores lack it
    return points


def embedded_bag(dataset: Dataset, split: str, probe: ProbeConfig, generator: torch.Generator) -> torch.Tensor:
    """The t-SNE of the bag-of-symbols baseline, the start of lowest divergence, [1, N, C]."""
    return tsne(bag_of_symbols(dataset, split)[None], generator=generator, **probe.tsne_settings()).best()


def embedded_bags(seed: int, probe: ProbeConfig) -> dict[str, np.ndarray]:
    """The t-SNE of the bag-of-symbols baseline on the paper's data set, by split, [N, C]."""
    dataset, generator = generate(DataConfig(), seed), torch.Generator().manual_seed(seed)
    return {split: embedded_bag(dataset, split, probe, generator)[0].numpy() for split in SPLITS}


def main(to: str, *paths: str) -> None:
    """Write the tables of the records at ``paths``.

    Raises:
        ConfigError: ``to`` is another file; or a record's training failed, its data set is not the paper's, or its
            probe differs from the first record's.
    """
    require_own(Path(to), "studies.clusterings")
    records = [read_record(Path(path)) for path in paths]
    data, probe = DataConfig(), records[0].config.probe
    for path, record in zip(paths, records, strict=True):
        require(not record.failure, f"{path}: failure", record.failure, "it has no last state to cluster; leave it out")
        _require_same(f"{path}: data", record.config.data, data)
        _require_same(f"{path}: probe", record.config.probe, probe)
    bags = {seed: embedded_bags(seed, probe) for seed in sorted({record.config.seed for record in records})}
    text = f"Made by `python -m studies.clusterings {to} {' '.join(paths)}`, on t-SNE of the top layer's states."
    others = (
        "F1 by task of other algorithms at the end, all told the number of tasks: the mean over seeds and, in "
        "brackets, the highest."
    )
    more = (
        "F1 by task of k-means where each cluster stands for the task most of it is of and, in brackets, the ARI, with "
        "one to five clusters a task: means over seeds."
    )
    tables = {others: clustering_rows(records), more: majority_rows(records, bags)}
    parts = [f"{title}\n\n{_table(rows)}" for title, rows in tables.items()]
    Path(to).write_text("\n\n".join([text, *parts]) + "\n", encoding="utf-8")


def _require_same(name: str, found: DataConfig | ProbeConfig, wanted: DataConfig | ProbeConfig) -> None:
    for field in dataclasses.fields(wanted):
        value, other = getattr(found, field.name), getattr(wanted, field.name)
        fix = f"the baseline has {other!r}; leave the record out"
        require(value == other, f"{name}.{field.name}", value, fix)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    command_line(main, __doc__, to="the page to write", records="files of records")
