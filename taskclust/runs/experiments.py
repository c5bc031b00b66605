"""``config -> record``: the one place that puts data, models and a checkpoint's probes (runs/probing.py) together.

Two kinds of record follow from an experiment: its *trajectory* (the training run: history and checkpoints) and its
*scores* (every probe of every checkpoint). Change the probe and only the scores are computed anew.
"""

import math
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from taskclust.config import (
    FEED_FORWARD,
    PRINTED_PARAMETERS,
    SPLITS,
    AlignmentConfig,
    AnyConfig,
    DataConfig,
    ExperimentConfig,
    LanguageConfig,
    ModelConfig,
    PretrainingConfig,
    ProbeConfig,
    TrainingConfig,
    digest,
    to_dict,
)
from taskclust.data import Dataset, generate
from taskclust.data.natural import natural_tasks
from taskclust.data.natural import prompts as instances
from taskclust.models import Decoder, Trainer, TrainingDiverged
from taskclust.models.decoder import decoder_config
from taskclust.models.language import open_language_model
from taskclust.models.memory import keep_freed_memory
from taskclust.models.precision import precisions
from taskclust.runs.applications import Stage, compare_methods, pretrain
from taskclust.runs.language import locate, probe_prompts, short_name
from taskclust.runs.probing import bag_scores, beside_bags, measures_from_data, probe_checkpoint
from taskclust.runs.provenance import provenance
from taskclust.runs.store import Store, is_sealed, plain, read_json, seal, write_json

#: Raised by hand when a stage's code changes what it computes, its probes included; part of every key. What it measures
#: in addition (the scores' "f1_without") raises nothing: records without it stay valid.
VERSIONS = {"dataset": 1, "trajectory": 1, "scores": 6, "parameters": 1, "pretraining": 3, "alignment": 2,
            "language": 1}  # fmt: skip

#: By kind, the version before scores were means over t-SNE starts, and what the default probe was then. A stored record
#: of it answers where its models are not stored, so that they cannot be probed again; it has no "starts".
OLDER: dict[str, tuple[int, dict[str, Any]]] = {
    "scores": (5, {"tsne_restarts": 3, "kmeans_restarts": 10}),
    "pretraining": (2, {"tsne_restarts": 3, "kmeans_restarts": 10}),
}

#: Seconds between saves of a training that can be continued.
SAVE_EVERY = 60.0

Record = dict[str, Any]
#: A kind of record that one configuration and seed determine; the name of the method that gives it.
RecordKind = Literal["scores", "pretraining", "alignment"]
Kind = RecordKind | Literal["trajectory"]
C = TypeVar("C", bound=AnyConfig)


@dataclass(frozen=True, slots=True)
class Runner:
    """Obtains records from a store, computing those that are missing.

    Args:
        store: where records are kept.
        device: "cpu" or "cuda".
        threads: of one run on a CPU; one by default, so that the same seed gives the same result whatever else runs.
        recompute: compute even what is there.
        show_progress: draw bars on the terminal.
        bar: the line of the terminal on which this process draws.
        replay: record a training step once and replay it (:mod:`taskclust.models.replay`), in experiments' trainings;
            the stages of the applications run plainly.
    """

    store: Store
    device: str = "cpu"
    threads: int = 1
    recompute: bool = False
    show_progress: bool = False
    bar: int = 0
    replay: bool = False

    def resolve(self, config: C, kind: Kind = "scores") -> C:
        """Settle what depends on the device, so that the key says what was run.

        Precision "auto" is what this device does best, unless a record is stored, or begun, in the other alone: seeds
        from machines of different processors stand together, and what was killed goes on as it began.
        """
        stages = {f.name: getattr(config, f.name) for f in fields(config)}
        admitted = {
            name: precisions(stage.precision, config.model.width, self.device)
            for name, stage in stages.items()
            if isinstance(stage, TrainingConfig)
        }
        settled: list[C] = []
        for choice in range(max(map(len, admitted.values()))):
            chosen: dict[str, Any] = {
                name: replace(stages[name], precision=names[min(choice, len(names) - 1)])
                for name, names in admitted.items()
            }
            settled.append(replace(config, **chosen))
        if self.recompute or len(settled) == 1:
            return settled[0]
        stored = (c for c in settled if self.store.path(kind, self._key(kind, c)).exists())
        begun = (c for c in settled if self._is_begun(kind, c))
        return next(stored, next(begun, settled[0]))

    def _is_begun(self, kind: Kind, config: AnyConfig) -> bool:
        """Is there work to go on from: a part of the record, or the training it rests on?"""
        keys: dict[str, str] = {kind: self._key(kind, config)}
        trained = config.stage("training") if isinstance(config, AlignmentConfig) else config
        if isinstance(trained, ExperimentConfig):
            keys["trajectory"] = self.keys(trained)["trajectory"]
        places = [place(name, key) for name, key in keys.items() for place in (self.store.path, self.store.unfinished)]
        return any(place.exists() for place in places)

    def keys(self, config: ExperimentConfig) -> dict[str, str]:
        """The keys of a resolved experiment's two records."""
        trained = digest(VERSIONS["trajectory"], config.data, config.model, config.training, config.seed)
        return {"trajectory": trained, "scores": digest(VERSIONS["scores"], trained, config.probe)}

    def key(self, kind: Kind, config: AnyConfig) -> str:
        """The key of the record that the method ``kind`` gives for ``config``."""
        return self._key(kind, self.resolve(config, kind))

    def _key(self, kind: Kind, config: AnyConfig) -> str:
        """The current key, or that of an older record where it alone answers: see :data:`OLDER`."""
        current = self._current_key(kind, config)
        older = None if self.recompute else self._older_key(kind, config)
        is_older = older is not None and self.store.path(kind, older).exists()
        return older if older and is_older and not self.store.path(kind, current).exists() else current

    def _current_key(self, kind: Kind, config: AnyConfig) -> str:
        if isinstance(config, ExperimentConfig):
            return self.keys(config)[kind]
        return digest(VERSIONS[kind], VERSIONS["trajectory"], config)

    def _older_key(self, kind: Kind, config: AnyConfig) -> str | None:
        """The key that the record had before; None where it has none or its models are stored."""
        if isinstance(config, AlignmentConfig) or kind not in OLDER or not _has_default_starts(config):
            return None
        version, before = OLDER[kind]
        probe = replace(config.probe, **before)
        if isinstance(config, PretrainingConfig):
            return digest(version, VERSIONS["trajectory"], replace(config, probe=probe))
        trained = self.keys(config)["trajectory"]
        is_trained = self.store.path("trajectory", trained).exists()
        return None if is_trained else digest(version, trained, probe)

    def is_stored(self, config: AnyConfig, kind: Kind = "scores") -> bool:
        """Would the method of that name answer from the store?"""
        return not self.recompute and self.store.path(kind, self.key(kind, config)).exists()

    def dataset(self, config: DataConfig, seed: int) -> Record:
        """Counts and sizes of a generated data set."""
        key = digest(VERSIONS["dataset"], config, seed)
        make = _writer(lambda: {"seed": seed, **describe(generate(config, seed)), "provenance": provenance("cpu")})
        return self._read("dataset", key, make)

    def parameters(self, data: DataConfig, model: ModelConfig) -> Record:
        """Parameters of ``model`` at each of Table 8's widths."""
        key = digest(VERSIONS["parameters"], data, model)
        wide = {width: 4 * width for width in FEED_FORWARD}
        make = _writer(
            lambda: {
                "counts": count_parameters(data, model, FEED_FORWARD),
                "wide_counts": count_parameters(data, model, wide),
                "provenance": provenance("cpu"),
            }
        )
        return self._read("parameters", key, make)

    def scores(self, config: ExperimentConfig) -> Record:
        """Every probe of every checkpoint of the experiment.

        A training whose loss is no longer a number gives a record too, with ``failure`` saying so: a seed that fails
        counts, as the worst.
        """
        config = self.resolve(config)
        self._set_up()
        record = self._read("scores", self._key("scores", config), lambda folder: self._probe(config, folder))
        if "by_mapping" not in record:  # made before it was
            probe = replace(config.probe, **OLDER["scores"][1])
            record |= plain(measures_from_data(record, generate(config.data, config.seed), probe, seed=config.seed))
        return record

    def pretraining(self, config: PretrainingConfig) -> Record:
        """Every arm of §4.1 pre-trained, probed and tuned; a seed that fails in one gives a record too."""
        config = self.resolve(config, "pretraining")
        self._set_up()
        key = self.key("pretraining", config)
        resume = self.store.unfinished("pretraining", key)
        make = _writer(lambda: {
            **pretrain(config, lambda trainer, name: self._run(trainer, resume / name, name), self.device),
            "provenance": provenance(self.device),
        })  # fmt: skip
        return self._read("pretraining", key, make)

    def alignment(self, config: AlignmentConfig) -> Record:
        """The four methods of §4.2 and their nulls, on a base model whose training is a trajectory of its own."""
        config = self.resolve(config, "alignment")
        self._set_up()
        key = self.key("alignment", config)
        return self._read("alignment", key, _writer(lambda: self._align(config, key)))

    def language(self, config: LanguageConfig) -> Record:
        """The natural-language setting on one open language model (§3.4), with its nulls.

        Raises:
            ConfigError: the model cannot be opened or read.
        """
        self._set_up()
        source, held = locate(config.source, self.store)
        key = digest(VERSIONS["language"], held, self.device, replace(config, source=""), *natural_tasks())

        def make() -> Record:
            language = open_language_model(source, self.device)
            prompts = instances(natural_tasks(), config.n_expressions, config.n_pairs)
            keep = self.store.unfinished("language", key)
            found = probe_prompts(language, prompts, config, keep=keep, show_progress=self.show_progress)
            return {"config": to_dict(config), **found, "provenance": provenance(self.device)}

        record = self._read("language", key, _writer(make))
        return {**record, "config": to_dict(config), "name": short_name(config.source)}

    def _align(self, config: AlignmentConfig, key: str) -> Record:
        trained = self.trajectory(config.stage("training"))
        base = read_json(trained / "record.json")
        model = Decoder.from_pretrained(trained / "checkpoints" / f"{base['best_epoch']:04d}").to(self.device).float()
        resume = self.store.unfinished("alignment", key)
        record = compare_methods(
            config, model, lambda trainer, name: self._run(trainer, resume / name, name), self.device
        )
        return {
            **record,
            "failure": base["failure"] or record["failure"],
            "base_history": base["history"],
            "seconds": {"train": base["seconds"], **record["seconds"]},
            "provenance": provenance(self.device),
        }

    def _set_up(self) -> None:
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        disable_progress_bar()  # transformers' own, one for each checkpoint

    def _read(self, kind: str, key: str, make: Callable[[Path], None]) -> Record:
        return read_json(self.store.obtain(kind, key, make, recompute=self.recompute) / "record.json")

    # ---------------------------------------------------------------- training

    def trajectory(self, config: ExperimentConfig) -> Path:
        """The folder of the training run: ``record.json`` and ``checkpoints/<epoch>/``, each a Hugging Face folder."""
        config = self.resolve(config, "trajectory")
        key = self.keys(config)["trajectory"]
        resume = self.store.unfinished("trajectory", key)
        return self.store.obtain(
            "trajectory", key, lambda folder: self._train(config, folder, resume), recompute=self.recompute
        )

    def train_together(self, configs: Sequence[ExperimentConfig]) -> None:
        """Bring the trainings that are missing to their end, a step of each in turn, all on the device at once.

        On a GPU their replayed steps run side by side. What is reached is kept as work to go on from: the record is
        made by :meth:`trajectory`, which repeats at most the last minute of a training that diverged.
        """
        self._set_up()
        resolved = [self.resolve(config, "trajectory") for config in configs]
        missing = {self.keys(c)["trajectory"]: c for c in resolved if not self.is_stored(c, "trajectory")}
        with ExitStack() as locks:
            for key in sorted(missing):  # whoever holds several takes them in one order
                locks.enter_context(self.store.lock("trajectory", key))
            missing = {key: c for key, c in missing.items() if not self.is_stored(c, "trajectory")}  # while we waited
            runs = [
                self._steps(
                    self._trainer(config), self.store.unfinished("trajectory", key), "train", keep=True, line=line
                )
                for line, (key, config) in enumerate(missing.items())
            ]
            for _ in zip_longest(*runs):
                pass

    def _trainer(self, config: ExperimentConfig) -> Trainer:
        return Trainer(config, generate(config.data, config.seed), self.device, replay=self.replay)

    def _train(self, config: ExperimentConfig, folder: Path, resume: Path) -> None:
        trainer = self._trainer(config)
        seconds, failure, checkpoints = self._run(trainer, resume, "train")
        _save_once(checkpoints / f"{trainer.best_epoch:04d}", lambda to: trainer.save_checkpoint(to, best=True))
        shutil.copytree(checkpoints, folder / "checkpoints", ignore=shutil.ignore_patterns("manifest.json", ".*"))
        record = {
            "config": to_dict(config),
            "history": trainer.history,
            "best_epoch": trainer.best_epoch,
            "failure": failure,
            "seconds": seconds,
            "replayed": self.replay,
            "provenance": provenance(self.device),
        }
        write_json(folder / "record.json", record)

    def _run(self, trainer: Trainer, resume: Path, verb: str) -> Stage:
        """Train to the end, or go on from what ``resume`` holds; checkpoints are left in its folder of that name."""
        steps = self._steps(trainer, resume, verb)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                stage: Stage = end.value
                return stage

    def _steps(
        self, trainer: Trainer, resume: Path, verb: str, *, keep: bool = False, line: int = 0
    ) -> Generator[None, None, Stage]:
        """:meth:`_run`, a step at a time; ``keep`` leaves the end in ``resume``, ``line`` is the bar's."""
        config, checkpoints = trainer.config, resume / "checkpoints"
        seconds = load_progress(trainer, resume)
        failure = None
        started = saved = time.monotonic()
        bar = self._bar(config, verb, config.training.epochs, trainer.epoch, line)
        try:
            self._checkpoint(trainer, config, checkpoints)
            while trainer.epoch < config.training.epochs:
                for step in trainer.epoch_steps():
                    left = time.monotonic()
                    yield step
                    started += time.monotonic() - left  # what others did meanwhile is not this run's time
                row = trainer.history[-1]
                self._checkpoint(trainer, config, checkpoints)
                bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['validation_accuracy']:.2f}", refresh=False)
                bar.update()
                is_last = trainer.epoch == config.training.epochs
                if time.monotonic() - saved > SAVE_EVERY or (keep and is_last):
                    saved = time.monotonic()
                    save_progress(trainer, resume, seconds + saved - started)
        except TrainingDiverged as error:
            failure = str(error)
            warnings.warn(f"seed {config.seed}: {failure}", RuntimeWarning, stacklevel=2)
        bar.close()
        return Stage(seconds + time.monotonic() - started, failure, checkpoints)

    def _checkpoint(self, trainer: Trainer, config: ExperimentConfig, checkpoints: Path) -> None:
        if trainer.epoch in config.training.checkpoints:
            _save_once(checkpoints / f"{trainer.epoch:04d}", trainer.save_checkpoint)

    # ---------------------------------------------------------------- probing

    def _probe(self, config: ExperimentConfig, folder: Path) -> None:
        trained = self.trajectory(config)
        training = read_json(trained / "record.json")
        dataset = generate(config.data, config.seed)
        epochs = sorted(int(path.name) for path in (trained / "checkpoints").iterdir())
        started = time.monotonic()
        with_tsne = epochs
        if config.probe.tsne_at == "few":
            with_tsne = sorted({epochs[0], training["best_epoch"], epochs[-1]})
        rows, bar = [], self._bar(config, "probe", len(epochs))
        for epoch in epochs:
            model = Decoder.from_pretrained(trained / "checkpoints" / f"{epoch:04d}").to(self.device)
            rows.append(probe_checkpoint(model, dataset, config.probe, with_tsne=epoch in with_tsne, seed=config.seed))
            bar.update()
        bar.close()
        record = {
            **training,
            "config": to_dict(config),
            "dataset": describe(dataset),
            "identities": {
                split: {name: dataset.splits[split].labels(name).tolist() for name in ("task", "is_hard")}
                for split in SPLITS
            },
            "epochs": {"raw": epochs, "tsne": with_tsne},
            **_stack(rows),
            "bag_of_symbols": {split: bag_scores(dataset, split, config.probe) for split in SPLITS},
            "provenance": provenance(self.device),
            "training_provenance": training["provenance"],
        }
        record |= beside_bags(record, dataset, config.probe, seed=config.seed)
        record["seconds"] = {"train": training["seconds"], "probe": time.monotonic() - started}
        write_json(folder / "record.json", record)

    def _bar(self, config: ExperimentConfig, verb: str, total: int, initial: int = 0, line: int = 0) -> tqdm:
        label = f"{verb} width {config.model.width} seed {config.seed}"
        return tqdm(desc=label, total=total, initial=initial, position=self.bar + line, leave=False,
                    disable=None if self.show_progress else True)  # fmt: skip


def _has_default_starts(config: ExperimentConfig | PretrainingConfig) -> bool:
    """Are t-SNE and k-means started as often as by default? Elsewhere the number was asked for."""
    default = ProbeConfig()
    names = ("tsne_restarts", "kmeans_restarts")
    return all(getattr(config.probe, name) == getattr(default, name) for name in names)


def describe(dataset: Dataset) -> Record:
    """The counts of Tables 3 and 4 as they came out."""
    config = dataset.config
    regular, hard = dataset.tasks[: config.n_tasks], dataset.tasks[config.n_tasks :]
    seen = {tuple(row[:n]) for row, n in zip(dataset.train.instructions, dataset.train.lengths, strict=True)}
    unseen = [
        tuple(row[:n]) for row, n in zip(dataset.validation.instructions, dataset.validation.lengths, strict=True)
    ]
    return {
        "sizes": {name: split.n_instances for name, split in dataset.splits.items()},
        "tasks": len(regular),
        "hard_tasks": len(hard),
        "distributions": [len(t.distributions) for t in regular],
        "instructions": sorted({len(d.instructions) for t in regular for d in t.distributions}),
        "hard_instructions": sorted({len(d.instructions) for t in hard for d in t.distributions}),
        "mappings": sorted({len(t.function.mappings()) for t in dataset.tasks}),
        "shared_mappings": sum(len(t.function.mappings()) for t in dataset.tasks)
        - len(set().union(*(t.function.mappings() for t in dataset.tasks))),
        "validation_tasks": len(set(dataset.validation.task)),
        "subset_tasks": len(set(dataset.subset.task[~dataset.subset.is_hard])),
        "metacharacters": sorted({len(d.pattern.pieces) for t in regular for d in t.distributions}),
        "characters": sorted({len(p.symbols) for t in regular for d in t.distributions for p in d.pattern.pieces}),
        "instruction_symbols": config.regex.n_symbols,
        "task_symbols": config.n_task_symbols,
        "leaked_instructions": sum(i in seen for i in unseen),
        "example_patterns": [str(d.pattern) for t in regular[:5] for d in t.distributions],
    }


def count_parameters(data: DataConfig, model: ModelConfig, feed_forward: dict[int, int]) -> dict[str, int]:
    """Parameters at each of Table 8's widths with these feed-forward widths, the rest as in ``model``."""
    counts = {}
    for width in PRINTED_PARAMETERS:
        sized = replace(model, width=width, feed_forward=feed_forward[width])
        with torch.device("meta"):
            counts[str(width)] = Decoder(decoder_config(data, sized)).num_parameters()
    return counts


def save_progress(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Write what a continued training needs; the last saved state stays until the new one is whole."""
    tensors, values = trainer.state()
    target = folder / f"state-{trainer.epoch:04d}"
    target.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, target / "state.safetensors")
    write_json(target / "state.json", {**values, "seconds": seconds})
    seal(target)
    for old in folder.glob("state-*"):
        if old != target:
            shutil.rmtree(old)


def load_progress(trainer: Trainer, folder: Path) -> float:
    """Continue from the newest whole state, if there is one; return the seconds spent before."""
    for state in sorted(folder.glob("state-*"), reverse=True):
        if is_sealed(state):
            values = read_json(state / "state.json")
            values["history"] = [{k: math.nan if v is None else v for k, v in row.items()} for row in values["history"]]
            trainer.load_state(load_file(state / "state.safetensors"), values)
            return float(values["seconds"])
    return 0.0


def _save_once(folder: Path, save: Callable[[Path], None]) -> None:
    """Write a checkpoint so that the folder, when it exists, is whole."""
    if not is_sealed(folder):
        shutil.rmtree(folder, ignore_errors=True)
        scratch = folder.with_name(f".{folder.name}")
        save(scratch)
        seal(scratch)
        scratch.replace(folder)


def _writer(make: Callable[[], Record]) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "record.json", make())


def _stack(rows: Iterable[Record]) -> Record:
    """Turn a list of equal nested dictionaries into one of lists; what only some rows have keeps only those."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    stacked: Record = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        stacked[name] = _stack(values) if isinstance(values[0], dict) else [np.asarray(v).tolist() for v in values]
    return stacked
