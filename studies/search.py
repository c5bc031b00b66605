"""A search over silent points at small scale: which choices make states cluster by task, and until when (§3.2)?

``python -m studies.search --minutes 60`` runs the settings below, each on the same seeds, and appends one row per run
to ``reports/search/runs.jsonl``; runs that have a row are not repeated. Settings are chosen on seeds 100 to 104, claims
are judged on seeds 0 to 4. Small means width 256 (or ``--width``) and 20 tasks over 16 symbols; the evaluated tasks
have as many distributions as Table 3 gives them. ``--only batch`` selects settings with "batch" in their names.
"""

import argparse
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from taskclust.config import (
    SPLITS,
    ConfigError,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    ProbeConfig,
    TrainingConfig,
    digest,
    require,
)
from taskclust.data import Dataset, generate
from taskclust.engines import end_with_parent
from taskclust.experiments.synthetic.probing import bag_of_instructions, clusters_as
from taskclust.experiments.synthetic.record import Record
from taskclust.models import open_checkpoint
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import TAKEN_OUT, additive_codes, without
from taskclust.probes.components import instruction_identities
from taskclust.probes.hidden import HiddenStates, hidden_states
from taskclust.probes.metrics import contingency, matched_f1_score
from taskclust.probes.neighbors import nearest
from taskclust.probes.tsne import tsne
from taskclust.profiles import vary
from taskclust.runner import Runner
from taskclust.store import Store, lock_of

Changes = dict[str, Any]

SEEDS = (100, 101, 102, 103, 104)
ROWS = Path("reports/search/runs.jsonl")


def small(width: int = 256) -> ExperimentConfig:
    """The starting point of the search; a run takes minutes on one core."""
    data = DataConfig(n_tasks=20, n_task_symbols=16, distribution_totals=((5, 6), (5, 15), (10, 32)))
    epochs = (0, 10, 20, 30, 40, 50, 60, 80, 100)
    rate = round(1e-4 * 768 / width, 6)  # Table 5's at width 768; narrower models need a higher one
    training = TrainingConfig(epochs=100, learning_rate=rate, batch_instructions=16, checkpoints=epochs)
    probe = ProbeConfig(iterations=1_000)
    return ExperimentConfig(data=data, model=ModelConfig.norm_after(width), training=training, probe=probe)


#: Alternatives to the starting point, by field of a silent point.
ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "model.tied_head": (True,),
    "training.input_loss_weight": (0.0, 5.0),
    "model.weight_std": (0.01, 0.02, 0.07),
    "model.head_std": (0.02, 0.05, 0.2, 0.5),
    "model.token_std": (0.02, 0.05, 0.2, 1.0),
    "model.norm": ("before",),
    "model.positions": ("learned",),
    "model.scale_tokens": (True,),
    "training.batch_instructions": (2, 4, 8, 32, 64),
    "training.learning_rate": (1e-4, 1e-3),
    "data.regex.max_repeats": (2, 5),
    "model.dropout_at": (("embedding", "branch"), ("attention", "branch"), ("branch",), ("embedding",)),
    "model.dropout": (0.1, 0.4),
    "training.weight_decay": (0.0, 0.1, 1.0),
    "training.loss_mean": ("sequences",),
    "training.warmup_epochs": (10,),
    "data.regex.families": (
        ("star",),
        ("star", "plus", "option", "repeat"),
        ("star", "plus", "option", "class"),
        ("star", "plus", "option", "repeat", "class", "alternation"),
    ),
    "data.regex.max_length": (20, 60),
    "data.hard_replacement": ("instruction",),
    # drawn freely; one, two or four per evaluated task
    "data.distribution_totals": ((), *(((5, 5 * n), (5, 5 * n), (10, 32)) for n in (1, 2, 4))),
}


def _whole(model: ModelConfig) -> Changes:
    """All settings of a model except its sizes."""
    names = [f.name for f in dataclasses.fields(model) if f.name not in ("width", "feed_forward")]
    return {f"model.{name}": getattr(model, name) for name in names}


def whole_models(width: int) -> dict[str, Changes]:
    """Models that differ in many silent points at once."""
    first = {"positions": "learned", "tied_head": True, "token_std": 0.02, "weight_std": 0.02}
    return {
        "GPT-2": _whole(ModelConfig.gpt2(width)),
        "tutorial": _whole(ModelConfig.tutorial(width)),
        "first GPT": _whole(ModelConfig.norm_after(width, **first)),
    }


#: Changes to each whole model: more and noisier steps, larger output rows, shorter instructions, stronger decay.
WITH_WHOLE: dict[str, Changes] = {
    "batch 2": {"training.batch_instructions": 2},
    "tokens 0.1": {"model.token_std": 0.1},
    "repeats 2": {"data.regex.max_repeats": 2},
    "weight decay 1": {"training.weight_decay": 1.0},
}
#: Combinations of choices.
COMBINED: dict[str, Changes] = {
    "small tokens, large head": {"model.token_std": 0.05, "model.head_std": 0.5},
    "tied, input loss 5": {"model.tied_head": True, "training.input_loss_weight": 5.0},
    "tied, input loss 5, rate 1e-3, warm-up": {
        "model.tied_head": True,
        "training.input_loss_weight": 5.0,
        "training.learning_rate": 1e-3,
        "training.warmup_epochs": 10,
    },
    "input loss 1000": {"training.input_loss_weight": 1000.0},  # the output hardly counts
    "tied, input loss 0": {"model.tied_head": True, "training.input_loss_weight": 0.0},
    "tied, batch 2": {"model.tied_head": True, "training.batch_instructions": 2},
    "tied, learned positions": {"model.tied_head": True, "model.positions": "learned"},
    "tied, tokens 0.2": {"model.tied_head": True, "model.token_std": 0.2},
    "tied, no attention dropout": {"model.tied_head": True, "model.dropout_at": ("embedding", "branch")},
    "tied, repeats 2": {"model.tied_head": True, "data.regex.max_repeats": 2},
    "norm before, small tokens, large head": {"model.norm": "before", "model.token_std": 0.05, "model.head_std": 0.5},
    "large weights, warm-up": {"model.weight_std": 0.07, "training.warmup_epochs": 10},
    "large weights, rate 1e-3, warm-up": {
        "model.weight_std": 0.09,
        "training.learning_rate": 1e-3,
        "training.warmup_epochs": 10,
    },
    "tied, rate 1e-3, warm-up": {
        "model.tied_head": True,
        "training.learning_rate": 1e-3,
        "training.warmup_epochs": 10,
    },
}


def settings(width: int = 256) -> Iterator[tuple[str, Changes]]:
    """Every setting of the declared grid by name: the start, whole models, then one silent point at a time."""
    yield "start", {}
    for name, changes in whole_models(width).items():
        yield name, changes
        for also, more in WITH_WHOLE.items():
            yield f"{name}, {also}", {**changes, **more}
    yield from COMBINED.items()
    for path, values in ALTERNATIVES.items():
        for value in values:
            yield f"{path}={value}", {path: value}


def sampled(seed: int) -> tuple[str, Changes]:
    """A random setting: each silent point has its starting value or an alternative."""
    rng = np.random.default_rng(seed)
    changes: Changes = {}
    for path, values in ALTERNATIVES.items():
        choice = int(rng.integers(-2 * len(values), len(values)))  # unchanged two times in three
        if choice >= 0:
            changes[path] = values[choice]
    return f"sample {seed}", changes


def summarize(record: Record) -> Changes:
    """The search's row for a record: by split, the curves that show which identity k-means follows, and until when.

    Scores are means over "starts" starts of t-SNE; older rows without it have the start of lowest divergence of two.
    """
    row: Changes = {
        "starts": record.config.probe.tsne_restarts,
        "failure": record.failure,
        "best_epoch": record.best_epoch,
        "seconds": {k: round(v) for k, v in record.seconds.items()},
        "epochs": record.epochs.tsne,
        "accuracy": {name: record.history[f"{name}_accuracy"] for name in ("validation", "subset", "hard")},
        "knn": record.knn.percentage,
        "bag": {split: record.bag_of_symbols[split].tsne["task"]["f1"][0] for split in SPLITS},
    }
    for split in SPLITS:
        found = record.scores[split]
        row[split] = {
            "tsne": found.tsne["task"]["f1"],
            "tsne_low": found.starts["task"]["f1"].min(axis=-1),
            "tsne_high": found.starts["task"]["f1"].max(axis=-1),
            "ari": found.tsne["task"]["ari"],
            "raw": found.raw["task"]["f1"],
            "distribution": found.tsne["distribution"]["f1"],
            "distribution_mapping": found.tsne["distribution_mapping"]["f1"],
            "label_inertia": found.raw["task"]["label_inertia"],
            "label_inertia_tsne": found.tsne["task"]["label_inertia"],
            "components": {k: v for k, v in record.components[split].items() if " and " not in k},
            "end_task": record.instruction_end_components[split]["task"],
        }
    row["subset"]["hard_separated"] = record.scores["subset"].tsne["task"]["hard_separated"]
    measured = {"merging": record.merging, "by_mapping": record.by_mapping}
    return _short({**row, **msgspec.to_builtins(measured, enc_hook=lambda value: value.tolist())})


def _short(value: Any) -> Any:
    """The value with all numbers rounded to three digits; null for NaN."""
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, list):
        return [_short(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 3)
    return value


def key(changes: Changes, width: int) -> str:
    """The key of a setting, independent of its name: the hash of the starting point with the changes.

    The probe is not part of a setting: the hash always contains the probe of the first rows.
    """
    start = replace(small(width), probe=ProbeConfig(iterations=1_000, tsne_restarts=2, kmeans_restarts=10))
    try:
        return digest(vary(start, changes))
    except ConfigError:
        return digest(start, changes)


def done(rows: Path) -> set[tuple[str, int]]:
    """The keys and seeds of settings with a row that includes ablated class means; older rows are made again."""
    return {(row["key"], row["seed"]) for row in read(rows) if row["failure"] or "without" in row}


def read(rows: Path) -> list[Changes]:
    """The rows of a file, without an incomplete last one; empty if there is no file.

    Raises:
        ConfigError: a line is not a row.
    """
    found = []
    for number, line in enumerate(_ended(rows).splitlines(), 1):
        try:
            row = json.loads(line)
            row["key"], row["seed"], row["failure"]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"rows={str(rows)!r}: line {number} is not a row of the search; remove it") from error
        found.append(row)
    return found


def _ended(rows: Path) -> str:
    """The complete lines of a file."""
    text = rows.read_text("utf-8") if rows.exists() else ""
    return text[: text.rfind("\n") + 1]


def cut_torn_row(rows: Path) -> None:
    """Remove the incomplete last row that a killed search left; the caller must hold the file's lock."""
    if rows.exists():
        rows.write_text(_ended(rows), encoding="utf-8")


def run_one(store: Path, changes: Changes, seed: int, width: int = 256) -> Changes:
    """The row of one setting and seed: train and probe it, then delete the checkpoints."""
    runner = Runner(Store(store))
    try:
        config = runner.resolve("synthetic", vary(replace(small(width), seed=seed), changes))
        record = runner.record("synthetic", config)
    except ConfigError as error:  # an impossible combination, e.g. too small a language
        return {"failure": str(error)}
    trained = runner.trajectory(config)  # trained again if another run has deleted it
    row: Changes = {"failure": record.failure}
    if not record.failure:
        again = probe_otherwise(config, trained / "checkpoints")
        row = {**summarize(record), "precision": config.training.precision, **again}
    shutil.rmtree(trained, ignore_errors=True)
    return row


NEIGHBORS = (1, 5, 20)


def probe_otherwise(config: ExperimentConfig, checkpoints: Path) -> Changes:
    """F1 by task of the top layer at the end with other choices of the probe, and with class means ablated.

    Returns:
        By split: ``without``, [raw, after t-SNE] with the named class means ablated; ``without_untrained``, the same
        for the untrained model, as negative control; ``before_norm``, before the last norm if there is one; ``older``,
        after t-SNE as in scikit-learn before 1.2; ``barnes_hut``, with scikit-learn's default method; ``end``, [raw,
        after t-SNE] of the last instruction token instead; ``end_bag``, of the instruction's symbols. Also
        ``neighbors``, the KNN percentage at other K.
    """
    dataset = generate(config.data, config.seed)

    def seen(epoch: int, *, before_norm: bool = False) -> dict[str, HiddenStates]:
        model = open_checkpoint(checkpoints / f"{epoch:04d}")
        return {
            name: hidden_states(model, split, before_final_norm=before_norm) for name, split in dataset.splits.items()
        }

    def tops(epoch: int, *, before_norm: bool = False) -> dict[str, Tensor]:
        return {name: states.input_token[-1] for name, states in seen(epoch, before_norm=before_norm).items()}

    def f1(states: Tensor, split: str) -> list[float]:
        part = dataset.splits[split]
        scores = cluster_scores(states[None], part, config.probe, with_tsne=True, seed=config.seed)
        return _short([float(table["task"]["f1"][0]) for table in (scores.raw, scores.tsne)])

    def f1_without(top: dict[str, Tensor]) -> Changes:
        codes = additive_codes(top["train"], dataset.train)
        return {
            split: {
                " and ".join(names): f1(without(top[split], dataset.splits[split], codes, names), split)
                for names in TAKEN_OUT
                if names
            }
            for split in SPLITS
        }

    last = seen(config.training.epochs)
    top = {name: states.input_token[-1] for name, states in last.items()}
    found: Changes = {"without": f1_without(top), "without_untrained": f1_without(tops(0))}
    settings = config.probe.tsne_settings()
    found |= {
        "end": {split: end_f1(last[split].instruction_end[-1], dataset, split, config) for split in SPLITS},
        "end_bag": {split: end_f1(bag_of_instructions(dataset, split), dataset, split, config) for split in SPLITS},
    }
    for name in ("older", "barnes_hut"):
        found[name] = {}
        for split in SPLITS:
            generator = torch.Generator().manual_seed(config.seed)
            embedded = tsne(top[split][None], generator=generator, **settings, **{name: True}).points[0]
            again = cluster_scores(embedded, dataset.splits[split], config.probe, with_tsne=False, seed=config.seed)
            found[name][split] = _short(float(np.mean(again.raw["task"]["f1"])))
    if config.model.norm == "before":
        before = tops(config.training.epochs, before_norm=True)
        found["before_norm"] = {split: f1(before[split], split) for split in SPLITS}
    tasks = {name: torch.as_tensor(split.labels("task")) for name, split in dataset.splits.items()}
    near = nearest(top["validation"][None], top["train"][None], max(NEIGHBORS))[0]
    same = tasks["train"][near] == tasks["validation"][:, None]
    found["neighbors"] = {str(k): _short(float(same[:, :k].float().mean())) for k in NEIGHBORS}
    return found


def end_f1(points: Tensor, dataset: Dataset, split: str, config: ExperimentConfig) -> list[float]:
    """The matched F1 by task of a split's instructions, one point each, [R, D]: raw, and the mean over t-SNE starts."""
    tasks = instruction_identities(dataset.splits[split])["task"]
    generator = torch.Generator().manual_seed(config.seed)
    embedded = tsne(points[None], generator=generator, **config.probe.tsne_settings()).points[0]
    return [_short(_task_f1(x, tasks, config.probe, generator)) for x in (points[None], embedded)]


def _task_f1(points: Tensor, tasks: np.ndarray, probe: ProbeConfig, generator: torch.Generator) -> float:
    """The matched F1 by task of k-means, the mean over sets of points, [B, N, D]."""
    found = clusters_as(tasks, points, probe, generator)
    return float(np.mean([matched_f1_score(contingency(tasks, clusters)) for clusters in found]))


def main() -> None:
    """Run the missing settings until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="start no run after this many minutes (60)")
    parser.add_argument("--workers", type=int, default=1, help="processes at once (1)")
    parser.add_argument("--seeds", type=int, default=2, help=f"number of seeds, of {SEEDS} (2)")
    parser.add_argument("--width", type=int, default=256, help="width of the models (256)")
    parser.add_argument("--only", action="append", default=[], help="settings with this in their name; repeatable")
    parser.add_argument("--samples", type=int, default=100, help="random settings after the declared ones (100)")
    parser.add_argument("--store", type=Path, default=Path(".taskclust"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    options = parser.parse_args()
    try:
        options.rows.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_of(options.rows), timeout=0):
            cut_torn_row(options.rows)
            _walk(options)
    except Timeout:
        parser.exit(
            1, f"rows={str(options.rows)!r}: another search writes to it; give this one another file with --rows\n"
        )
    except (ConfigError, OSError) as error:
        parser.exit(1, f"{error}\n")


def _walk(options: argparse.Namespace) -> None:
    for name, least in (("minutes", 0), ("workers", 1), ("seeds", 1), ("samples", 0)):
        value = getattr(options, name)
        require(least <= value < math.inf, name, value, f"give {least} or more")
    small(options.width)
    plan = [*settings(options.width), *map(sampled, range(options.samples))]
    if options.only:
        plan = [(name, changes) for name, changes in plan if any(part in name for part in options.only)]
        require(bool(plan), "only", options.only, "no setting's name contains this; see `settings`")
    wanted = [(name, changes, seed) for name, changes in plan for seed in SEEDS[: options.seeds]]
    found, pending = done(options.rows), []
    for name, changes, seed in wanted:
        what = key(changes, options.width), seed
        if what not in found:
            found.add(what)  # two names may have one key
            pending.append((name, changes, seed))
    until = time.monotonic() + 60 * options.minutes
    with ProcessPoolExecutor(options.workers, get_context("spawn"), end_with_parent) as pool:
        running: dict[Any, tuple[str, Changes, int]] = {}
        while (pending and time.monotonic() < until) or running:
            while pending and len(running) < options.workers and time.monotonic() < until:
                name, changes, seed = pending.pop(0)
                running[pool.submit(run_one, options.store, changes, seed, options.width)] = (name, changes, seed)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, changes, seed = running.pop(future)
                about = {"setting": name, "width": options.width, "seed": seed, "changes": changes}
                try:
                    row = {**about, "key": key(changes, options.width), **future.result()}
                except Exception as error:  # noqa: BLE001 - the others continue; this run gets no row
                    print(f"{name} seed {seed}: {type(error).__name__}: {error}", flush=True)  # noqa: T201 - its log
                    continue
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
                print(f"{name} seed {seed}: {describe(row)}", flush=True)  # noqa: T201 - its log


def describe(row: Changes) -> str:
    """The run in one line: accuracy on unseen instructions and the top layer's task F1, at the best and last epoch."""
    if row["failure"]:
        return row["failure"]
    best = row["epochs"].index(row["best_epoch"])
    f1 = [f"{s} {row[s]['tsne'][best][-1]:.2f} {row[s]['tsne'][-1][-1]:.2f}" for s in SPLITS]
    accuracy = row["accuracy"]["validation"]
    return f"best {row['best_epoch']}, accuracy {max(accuracy):.2f} {accuracy[-1]:.2f}, f1 {', '.join(f1)}"


if __name__ == "__main__":
    main()
