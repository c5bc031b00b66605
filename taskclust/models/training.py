"""One training loop: AdamW, cosine annealing, clipped gradients (§3.1, Table 5).

A :class:`Trainer` runs one epoch at a time and can be saved between epochs. All its randomness comes from the seed, the
purpose and the epoch, so a run that was stopped and continued equals one that was not. On a CPU the decoder's steps are
compiled (:mod:`taskclust.models.compiled`). Where small models leave a GPU waiting, :mod:`taskclust.models.replay` has
a trainer that does the same.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taskclust.config import ExperimentConfig
from taskclust.data import Dataset
from taskclust.models.batches import Batch, Instructions, batch_for
from taskclust.models.compiled import CompiledStep
from taskclust.models.interface import Model
from taskclust.models.precision import FlatParameters
from taskclust.models.registry import create, has_compiled_steps

#: One independent stream of random numbers for each purpose.
_WEIGHTS, _ORDER, _DROPOUT = range(1, 4)


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number."""


def _stream(*key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(key)


def _torch_seed(*key: int) -> int:
    return int(_stream(*key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def batch_loss(model: Model, batch: Batch) -> Tensor:
    """Mean cross-entropy of the next token (nats), each prediction weighted as in the plain batch (§2.1)."""
    logits = model(batch.tokens, batch.mask, batch.positions, select=batch.predict_at).logits
    losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum()


class Trainer:
    """Trains one model on one data set.

    Args:
        config: the experiment; its precision must be resolved, "float32" or "bfloat16".
        dataset: what to train on.
        device: where.
        model: a float32 model to go on with, trained in place where its parameters require a gradient; a new one of the
            seed by default.
        criterion: of the best epoch: highest accuracy (Table 5) or lowest loss (§4.1) on the validation set, or none:
            the last is taken.
        compiled: take compiled steps where the model has them, or autograd's for every model: the same but for rounding
            and the draw of dropout.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: Dataset,
        device: torch.device | str = "cpu",
        *,
        model: Model | None = None,
        criterion: Literal["accuracy", "loss", "last"] = "accuracy",
        compiled: bool = True,
    ) -> None:
        self.config, self.device, self.criterion = config, torch.device(device), criterion
        if model is None:
            generator = torch.Generator().manual_seed(_torch_seed(config.seed, _WEIGHTS))
            model = create(dataset.config, config.model, generator)
        self.model = model.to(self.device)
        self.parameters = FlatParameters(self.model, config.training.precision)
        self._dropout = torch.Generator(self.device)
        self.model.set_generator(self._dropout)
        self._optimizer = self._make_optimizer()
        self._is_compiled = compiled and has_compiled_steps(self.model, self.device)
        training = config.training
        splits = dataset.splits
        if training.shuffled == "instances":
            splits = {**splits, "train": dataset.train.one_by_one()}
        self._data = {
            name: Instructions(
                split,
                device,
                input_weight=training.input_loss_weight,
                loss_mean=training.loss_mean,
                loss_over=training.loss_over,
            )
            for name, split in splits.items()
        }
        self._hard = torch.as_tensor(dataset.subset.labels("is_hard"), device=self.device)
        self.epoch = 0
        self.history: list[dict[str, float]] = [self._measure(loss=math.nan)]
        self._best = self.parameters.low.clone()

    @property
    def best_epoch(self) -> int:
        """The epoch of the best validation accuracy so far, the first of equals (Table 5, "validation criterion")."""
        if self.criterion == "last":
            return len(self.history) - 1
        if self.criterion == "loss":
            return int(np.argmin([row["validation_loss"] for row in self.history]))
        return int(np.argmax([row["validation_accuracy"] for row in self.history]))

    @property
    def _steps_per_epoch(self) -> int:
        return -(-len(self._data["train"]) // self.config.training.batch_instructions)

    def _learning_rate(self, step: int) -> float:
        training = self.config.training
        warm = self._steps_per_epoch * training.warmup_epochs
        if step < warm:
            return training.learning_rate * (step + 1) / warm
        total = self._steps_per_epoch * training.schedule_epochs
        return training.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))

    def run_epoch(self) -> dict[str, float]:
        """Pass once over the training set, then measure.

        Returns:
            The epoch's row of ``history``: the training loss (nats a token, with dropout) and accuracies, fractions.

        Raises:
            TrainingDiverged: the loss is not a finite number.
        """
        deque(self.epoch_steps(), maxlen=0)
        return self.history[-1]

    def epoch_steps(self) -> Iterator[None]:
        """:meth:`run_epoch`, to be advanced a step at a time: a GPU then works on several trainers' steps at once."""
        training, data = self.config.training, self._data["train"]
        order = np.random.default_rng(_stream(self.config.seed, _ORDER, self.epoch)).permutation(len(data))
        batches = [
            order[start : start + training.batch_instructions]
            for start in range(0, len(data), training.batch_instructions)
        ]
        first = self.epoch * self._steps_per_epoch
        rates = [self._learning_rate(first + step) for step in range(len(batches))]
        self._dropout.manual_seed(_torch_seed(self.config.seed, _DROPOUT, self.epoch))
        self.model.train()
        total = torch.zeros((), device=self.device)
        step = self._prepare(batches, rates)
        for index, indices in enumerate(batches):
            total += step(index) * len(indices)
            yield
        self._end_epoch(float(total) / len(data))  # the epoch's only wait for the device

    @cached_property
    def _compiled(self) -> CompiledStep:
        """The compiled step, with its buffers; a trainer that makes no step needs none."""
        n = self.config.training.batch_instructions
        return CompiledStep(self.model, self.parameters, self._data["train"], n, torch.get_num_threads())

    def _make_optimizer(self) -> torch.optim.AdamW:
        decay = self.config.training.weight_decay
        return torch.optim.AdamW([self.parameters.master], lr=0.0, weight_decay=decay, fused=True)

    def _prepare(self, batches: Sequence[np.ndarray], rates: Sequence[float]) -> Callable[[int], Tensor]:
        """A function from the number of a step in the epoch to its loss, which makes the step."""
        return lambda index: self.train_step(batches[index], rates[index])

    def _end_epoch(self, loss: float) -> None:
        self.epoch += 1
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}")
        self.history.append(self._measure(loss))
        if self.best_epoch == self.epoch:
            self._best.copy_(self.parameters.low)

    def train_step(self, indices: np.ndarray, learning_rate: float) -> Tensor:
        """Update the model, in whatever mode it is, on these training instructions; the loss stays on the device."""
        if self._is_compiled:
            training = self.config.training
            loss = self._compiled.update(
                indices,
                learning_rate,
                decay=training.weight_decay,
                max_norm=training.max_gradient_norm,
                generator=self._dropout,
            )
            return torch.tensor(loss)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        return self._update(batch_for(self.model, self._data["train"], indices))

    def _update(self, batch: Batch) -> Tensor:
        loss = batch_loss(self.model, batch)
        loss.backward()
        self.parameters.collect_gradient(self.config.training.max_gradient_norm)
        self._optimizer.step()
        self.parameters.refresh()
        return loss.detach()

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"learning_rate={self.config.training.learning_rate}: {what} in epoch {self.epoch}; lower the rate or use "
            "precision='float32'"
        )

    @torch.no_grad()
    def _correct(self, split: str) -> Tensor:
        """Whether the most likely output is the right one, for each instance of the split, bool [N]."""
        self.model.eval()
        data = self._data[split]
        hits = []
        for start in range(0, len(data), 64):
            batch = batch_for(self.model, data, np.arange(start, min(start + 64, len(data))))
            logits = self.model(batch.tokens, batch.mask, batch.positions, select=batch.input_at).logits
            if not torch.isfinite(logits).all():  # the epoch's last step can ruin what its loss still shows whole
                raise self._diverged("the predictions became nan")
            hits.append(logits.argmax(-1) == batch.targets[-len(batch.input_at) :])
        return torch.cat(hits)

    def _measure(self, loss: float) -> dict[str, float]:
        subset = self._correct("subset")
        rates = {
            "validation_accuracy": self._correct("validation").float().mean(),
            "subset_accuracy": subset.float().mean(),
            "hard_accuracy": subset[self._hard].float().mean(),
        }
        if self.criterion == "loss":
            rates["validation_loss"] = self._loss("validation")
        return {"loss": loss, **{name: float(rate) for name, rate in rates.items()}}

    @torch.no_grad()
    def _loss(self, split: str) -> Tensor:
        """The split's loss without dropout (nats a token, or an instance with ``loss_mean="sequences"``)."""
        self.model.eval()
        data = self._data[split]
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for start in range(0, len(data), 64):
            batch = batch_for(self.model, data, np.arange(start, min(start + 64, len(data))))
            total += batch_loss(self.model, batch) * batch.weights.sum()
            weight += batch.weights.sum()
        return total / weight

    def best_model(self) -> Model:
        """The model as it was at ``best_epoch``, in float32; it is the trained one itself, so the training is over."""
        self.parameters.low.copy_(self._best)
        return self.model.float().eval()

    def save_checkpoint(self, folder: Path, *, best: bool = False) -> None:
        """Write the model, as trained, as a Hugging Face folder: now, or as it was at ``best_epoch``."""
        current = self.parameters.low.clone() if best else None
        if best:
            self.parameters.low.copy_(self._best)
        state = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        for name in self.model.tied_names():  # a head tuned by itself is tied no more
            del state[name]
        self.model.save_pretrained(folder, state_dict=state)
        if current is not None:
            self.parameters.low.copy_(current)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a continued run needs: tensors, and plain values."""
        slots = self._compiled.state() if self._is_compiled else self._optimizer.state.get(self.parameters.master, {})
        tensors = {"master": self.parameters.master.detach(), "best": self._best, **slots}
        return tensors, {"epoch": self.epoch, "history": self.history}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Continue from what :meth:`state` gave."""
        self.epoch, self.history = values["epoch"], values["history"]
        self.parameters.load(tensors["master"])
        self._best.copy_(tensors["best"])
        if "step" not in tensors:  # saved before the first step
            return
        slots = {name: tensors[name] for name in ("step", "exp_avg", "exp_avg_sq")}
        if self._is_compiled:
            self._compiled.load_state(slots)
            return
        saved = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**saved, "state": {0: slots}})
