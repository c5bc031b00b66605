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
    config = ExperimentConfig(data=DataConfig(**data), model=ModelConfig.of_width(width))
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


@pytest.mark.parametrize("n_tasks", [25, 50, 100])
def test_an_epoch_grows_with_the_data(n_tasks, compare):
    config = experiment(256, n_tasks=n_tasks, n_task_symbols=40, distribution_totals=((n_tasks, 3 * n_tasks),))
    dataset = generate(config.data, seed=0)
    trainer = Trainer(config, dataset, DEVICE)

    compare(
        f"an epoch, width 256, {n_tasks} tasks",
        {"ours": trainer.run_epoch},
        units=dataset.train.n_instances,
        unit="instances",
        rounds=2,
    )

    assert all(np.isfinite(row["loss"]) for row in trainer.history[1:])


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


@pytest.mark.parametrize("n_seeds", [1, 2, 4])
def test_runs_grow_with_the_seeds(n_seeds, compare, tmp_path):
    training = replace(experiment(32).training.until(2), checkpoints=(2,))
    probe = replace(ExperimentConfig().probe, iterations=250, tsne_restarts=1)
    configs = [replace(experiment(32), training=training, probe=probe, seed=seed) for seed in range(n_seeds)]
    runner = Runner(Store(tmp_path), device=DEVICE, recompute=True)

    compare(
        f"2 epochs and their probe, width 32, {n_seeds} seed(s)",
        {"ours": partial(obtain_all, runner, "synthetic", configs)},
        units=n_seeds,
        unit="runs",
        rounds=1,
    )

    assert all(runner.store.path("synthetic", runner.key("synthetic", config)).exists() for config in configs)
