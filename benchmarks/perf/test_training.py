"""Training on the paper's data, beside what people would otherwise write: transformers' GPT-2, row by row."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from taskclust.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig
from taskclust.data import Dataset, generate
from taskclust.engines import obtain_all
from taskclust.models import Trainer
from taskclust.models.batches import Instructions, plain_batch
from taskclust.models.precision import precisions
from taskclust.models.replay import ReplayedTrainer
from taskclust.runner import Runner
from taskclust.store import Store

BATCH = TrainingConfig().batch_instructions
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def experiment(width: int, **data: object) -> ExperimentConfig:
    """The paper's experiment at ``width`` in what precision the device does best."""
    config = ExperimentConfig(data=DataConfig(**data), model=ModelConfig.norm_after(width))
    return replace(config, training=replace(config.training, precision=precisions("auto", width, DEVICE)[0]))


def gpt2(dataset: Dataset, config: ExperimentConfig) -> GPT2LMHeadModel:
    """Transformers' GPT-2 of the same sizes, in training."""
    model = config.model
    settings = GPT2Config(
        vocab_size=dataset.config.vocab_size,
        n_positions=64,
        n_embd=model.width,
        n_layer=model.layers,
        n_head=model.heads,
        n_inner=model.feed_forward,
        resid_pdrop=model.dropout,
        embd_pdrop=model.dropout,
        attn_pdrop=model.dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(settings).to(DEVICE).train()


def padded_rows(data: Instructions, indices: np.ndarray) -> dict[str, torch.Tensor]:
    """One padded row ``[I, x]`` an instance, with the labels as transformers wants them: at the token predicted."""
    batch = plain_batch(data, indices)
    ends = batch.input_at
    flat = torch.cat([batch.tokens, batch.tokens.new_zeros(len(ends), 1)], dim=1)
    place = ends % batch.tokens.shape[1]
    rows = torch.arange(len(ends), device=flat.device)
    flat[rows, place + 1] = batch.targets[-len(ends) :]
    seen = torch.arange(flat.shape[1], device=flat.device) <= place[:, None] + 1
    return {"input_ids": flat, "attention_mask": seen.long(), "labels": flat.where(seen, -100)}


def eager(dataset: Dataset, config: ExperimentConfig, *, autocast: bool) -> Callable[[np.ndarray], None]:
    """The usual loop: GPT2LMHeadModel, AdamW, clip_grad_norm_."""
    model = gpt2(dataset, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.training.learning_rate)
    data = Instructions(dataset.train, DEVICE)

    def step(indices: np.ndarray) -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
            loss = model(**padded_rows(data, indices)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.max_gradient_norm)
        optimizer.step()

    return step


def hugging_face(dataset: Dataset, config: ExperimentConfig, batches: np.ndarray, folder: Path) -> Callable[[], None]:
    """Transformers' Trainer on the same rows, in bfloat16 where ours is."""
    data = Instructions(dataset.train)
    rows = [
        {name: column[i] for name, column in batch.items()}
        for batch in (padded_rows(data, indices) for indices in batches)
        for i in range(len(batch["input_ids"]))
    ]
    length = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    rows = [
        {n: torch.nn.functional.pad(v, (0, length - len(v)), value=fill[n]) for n, v in row.items()} for row in rows
    ]
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH * config.data.n_mappings,
        max_steps=len(batches),
        learning_rate=config.training.learning_rate,
        max_grad_norm=config.training.max_gradient_norm,
        bf16=config.training.precision == "bfloat16",
        use_cpu=DEVICE == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = HuggingFaceTrainer(model=gpt2(dataset, config), args=arguments, train_dataset=rows)

    def run() -> None:
        trainer.train()

    return run


def work(dataset: Dataset, config: ExperimentConfig, batches: np.ndarray) -> float:
    """Floating-point operations of the matrix products that these instructions need, read once and without padding."""
    tokens = dataset.train.lengths[batches.ravel()].sum() + batches.size * config.data.n_mappings
    parameters = sum(p.numel() for p in Trainer(config, dataset).model.blocks.parameters())
    return 6.0 * parameters * float(tokens)


@pytest.mark.parametrize("width", [32, 256, 768])
def test_a_training_step_beats_the_usual_loops(width, compare, tmp_path):
    config = experiment(width)
    dataset = generate(config.data, seed=0)
    batches = np.random.default_rng(0).permutation(len(dataset.train.lengths))[: 3 * BATCH].reshape(3, BATCH)
    trainer = Trainer(config, dataset, DEVICE)
    trainer.model.train()
    steps = {
        "ours": partial(trainer.train_step, learning_rate=1e-4),
        "transformers, eager, float32": eager(dataset, config, autocast=False),
        "transformers, eager, bfloat16 autocast": eager(dataset, config, autocast=True),
    }

    def run(step: Callable[[np.ndarray], object]) -> None:
        for indices in batches:
            step(indices)

    cases: dict[str, Callable[[], object]] = {name: partial(run, step) for name, step in steps.items()}
    if importlib.util.find_spec("accelerate"):
        cases["transformers, Trainer"] = hugging_face(dataset, config, batches, tmp_path)
    precision = config.training.precision
    ratios = compare(
        f"3 training steps, width {width} ({precision})",
        cases,
        units=batches.size * config.data.n_mappings,
        unit="instances",
        flops=work(dataset, config, batches),
        dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
    )

    assert min(ratio for name, ratio in ratios.items() if name != "ours") > 1.5


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU launches nothing: steps are replayed on a GPU")
@pytest.mark.parametrize("n_seeds", [1, 5])
@pytest.mark.parametrize("width", [32, 256, 768])
def test_replayed_steps_beat_plain_ones(width, n_seeds, compare):
    config = experiment(width)
    datasets = [generate(config.data, seed) for seed in range(n_seeds)]
    trainers = {
        name: [kind(replace(config, seed=i), data, DEVICE) for i, data in enumerate(datasets)]
        for name, kind in (("replayed", ReplayedTrainer), ("plain", Trainer))
    }

    def epoch(several: list[Trainer]) -> None:
        for _ in zip_longest(*(trainer.epoch_steps() for trainer in several)):
            pass

    ratios = compare(
        f"an epoch of {n_seeds} seed(s) together, width {width} ({config.training.precision})",
        {name: partial(epoch, several) for name, several in trainers.items()},
        units=sum(data.train.n_instances for data in datasets),
        unit="instances",
    )

    assert ratios["plain"] > 1.0


def test_an_epoch_grows_with_the_tasks(grow):
    trainers = {}
    for n_tasks in (25, 50, 100, 200):
        totals = ((n_tasks, 3 * n_tasks),)
        config = experiment(64, n_tasks=n_tasks, n_task_symbols=40, distribution_totals=totals)
        trainers[n_tasks] = Trainer(config, generate(config.data, seed=0), DEVICE)

    grow(
        "an epoch with its measurements, width 64",
        "tasks",
        {n_tasks: trainer.run_epoch for n_tasks, trainer in trainers.items()},
        fitted=[*trainers],
        warmed=[25],
    )

    assert all(np.isfinite(row["loss"]) for trainer in trainers.values() for row in trainer.history[1:])


def test_a_training_step_grows_with_the_width(grow):
    """The feed-forward layers are twice as wide at every width, so that one power fits; the paper's at 768 are not."""

    def three(trainer: Trainer) -> None:
        for _ in range(3):
            trainer.train_step(np.arange(BATCH), learning_rate=1e-4)

    cases: dict[int, Callable[[], object]] = {}
    for width in (32, 64, 128, 256, 512, 768):
        config = experiment(width)
        config = replace(config, model=replace(config.model, feed_forward=2 * width))
        dataset = generate(config.data, seed=0)
        trainer = Trainer(config, dataset, DEVICE)
        trainer.model.train()
        cases[width] = partial(three, trainer)

    work = f"3 training steps ({config.training.precision} where the exponent is fitted)"
    seconds = grow(work, "model width", cases, fitted=(256, 512, 768), rounds=5)

    assert seconds[768] < 3**3 * seconds[256]


def test_an_epoch_at_the_papers_width(compare):
    config = experiment(768)
    dataset = generate(config.data, seed=0)
    trainer = Trainer(config, dataset, DEVICE)
    everything = np.arange(len(dataset.train.lengths))

    compare(
        f"an epoch of Table 4's data with its measurements, width 768 ({config.training.precision})",
        {"ours": trainer.run_epoch},
        units=dataset.train.n_instances,
        unit="instances",
        rounds=2,
        flops=work(dataset, config, everything),
        dtype=torch.bfloat16 if config.training.precision == "bfloat16" else torch.float32,
    )

    assert trainer.history[-1]["loss"] < trainer.history[1]["loss"]


def test_workers_share_the_runs(grow, tmp_path):
    """A thread each. What two workers take includes starting their processes, each of which compiles for itself."""
    training = replace(experiment(32).training.until(6), checkpoints=(0, 6))
    probe = replace(ExperimentConfig().probe, iterations=250, tsne_restarts=1)
    configs = [replace(experiment(32), training=training, probe=probe, seed=seed) for seed in range(4)]
    runner = Runner(Store(tmp_path), device=DEVICE, recompute=True)

    grow(
        "4 runs of 6 epochs with 2 probes, width 32",
        "workers",
        {workers: partial(obtain_all, runner, "synthetic", configs, workers) for workers in (1, 2)},
        fitted=None,
        rounds=1,
        warmed=(),
    )

    assert all(runner.store.path("synthetic", runner.key("synthetic", config)).exists() for config in configs)
