"""A training step on the paper's data, beside what people would otherwise write: transformers' GPT-2, row by row."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from taskclust.config import ExperimentConfig, ModelConfig
from taskclust.data import Dataset, generate
from taskclust.models import Trainer
from taskclust.models.batches import Instructions, packed_batch, plain_batch
from taskclust.models.precision import resolve_precision
from taskclust.models.training import batch_loss


def ours(dataset: Dataset, config: ExperimentConfig) -> Callable[[np.ndarray], None]:
    """The project's step: packed rows, low precision where the processor has it."""
    trainer = Trainer(config, dataset)
    trainer.model.train()
    data = Instructions(dataset.train)

    def step(indices: np.ndarray) -> None:
        batch_loss(trainer.model, packed_batch(data, indices)).backward()
        trainer.parameters.collect_gradient(config.training.max_gradient_norm)
        trainer._optimizer.step()  # noqa: SLF001
        trainer.parameters.refresh()

    return step


def eager(dataset: Dataset, config: ExperimentConfig, *, autocast: bool) -> Callable[[np.ndarray], None]:
    """The usual step: one padded row an instance, GPT2LMHeadModel, AdamW, clip_grad_norm_."""
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=dataset.config.vocab_size,
            n_positions=64,
            n_embd=config.model.width,
            n_layer=config.model.layers,
            n_head=config.model.heads,
            n_inner=config.model.feed_forward,
            resid_pdrop=config.model.dropout,
            embd_pdrop=config.model.dropout,
            attn_pdrop=config.model.dropout,
            bos_token_id=0,
            eos_token_id=0,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    data = Instructions(dataset.train)

    def step(indices: np.ndarray) -> None:
        batch = plain_batch(data, indices)
        flat = torch.full((batch.tokens.numel(),), -100)
        flat[batch.predict_at] = batch.targets
        labels = flat.view(batch.tokens.shape)
        mask = batch.positions <= (labels >= 0).sum(1, keepdim=True) - 1
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(input_ids=batch.tokens, attention_mask=mask.long()).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


@pytest.mark.parametrize("width", [32, 256, 768])
def test_a_training_step_beats_the_eager_loop(width, compare):
    config = ExperimentConfig(model=ModelConfig.of_width(width))
    precision = resolve_precision("auto", width, "cpu")
    config = replace(config, training=replace(config.training, precision=precision))
    dataset = generate(config.data, seed=0)
    batches = np.random.default_rng(0).permutation(len(dataset.train.lengths))[:48].reshape(3, 16)
    steps = {
        "ours": ours(dataset, config),
        "transformers, eager, float32": eager(dataset, config, autocast=False),
        "transformers, eager, bfloat16 autocast": eager(dataset, config, autocast=True),
    }
    tokens = dataset.train.lengths[batches.ravel()].sum() + batches.size * config.data.n_mappings
    parameters = sum(p.numel() for p in Trainer(config, dataset).model.blocks.parameters())

    def run(step: Callable[[np.ndarray], None]) -> None:
        for indices in batches:
            step(indices)

    cases = {name: partial(run, step) for name, step in steps.items()}
    ratios = compare(
        f"3 training steps, width {width} ({precision})",
        cases,
        units=batches.size * config.data.n_mappings,
        unit="instances",
        flops=6.0 * parameters * float(tokens),
    )

    assert min(ratios["transformers, eager, float32"], ratios["transformers, eager, bfloat16 autocast"]) > 1
