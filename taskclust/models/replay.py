"""Training steps of one shape, recorded once and replayed, so that a GPU does not wait for kernels to be launched.

A step of a small model has some 1,500 kernels of microseconds each, which end faster than Python launches them. Batches
are padded to one shape (padding has no weight), and an epoch of them is copied to the device at once. A step copies a
batch into fixed buffers and replays a CUDA graph that was captured there. On a CPU the same steps run directly, which
lets the tests check that padding changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskclust.models.batches import Batch, Instructions, host_batch, packed_batch
from taskclust.models.training import Trainer

#: The parts of a batch that a step reads; the others are for probing and vary in shape.
_READ = ("tokens", "positions", "mask", "predict_at", "targets", "weights")
#: Plain steps before the capture, because libraries initialize themselves in their first calls.
WARM_UP = 3


class Replay:
    """Replayed steps on batches of up to ``n`` instructions.

    Args:
        data: the instructions.
        n: the most instructions per step.
        rate: the learning rate that the step reads, a tensor on the device.
        generator: the generator that the step draws from, on the device.
    """

    def __init__(self, data: Instructions, n: int, rate: Tensor, generator: torch.Generator) -> None:
        self._data, self._rate, self._generator = data, rate, generator
        self._room = data.room(n)
        self._buffers: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss: Tensor | None = None
        self._warm = 0

    def load(self, batches: Sequence[np.ndarray], rates: Sequence[float]) -> None:
        """Copy an epoch's batches, given as indices of instructions, and its learning rates to the device."""
        packed = [host_batch(self._data, indices, room=self._room) for indices in batches]
        device = self._data.device
        self._epoch = [torch.stack([getattr(batch, name) for batch in packed]).to(device) for name in _READ]
        self._rates = torch.tensor(rates, device=device)
        if self._buffers is None:
            nowhere = torch.zeros(0, dtype=torch.long, device=device)
            fixed = dict(zip(_READ, (whole[0].clone() for whole in self._epoch), strict=True))
            self._buffers = Batch(**fixed, input_at=nowhere, instruction_end_at=nowhere)

    def step(self, index: int, update: Callable[[Batch], Tensor]) -> Tensor:
        """Run step ``index`` of the loaded epoch.

        Args:
            index: the step's number, from 0.
            update: the step's function: reads a batch, updates the model and returns the loss, without waiting for the
                device. It is called until it is captured; after that the capture is replayed.

        Returns:
            The loss, on the device; the next step overwrites it.
        """
        assert self._buffers is not None, "load an epoch first"
        for name, whole in zip(_READ, self._epoch, strict=True):
            getattr(self._buffers, name).copy_(whole[index])
        self._rate.copy_(self._rates[index])
        if self._graph is None and (self._data.device.type == "cpu" or self._warm < WARM_UP):
            self._warm += 1
            return update(self._buffers)
        if self._graph is None:  # capturing runs nothing; the replay below runs this step
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self._generator)
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self._loss = update(self._buffers)
            self._graph = graph
        self._graph.replay()
        assert self._loss is not None
        return self._loss


class ReplayedTrainer(Trainer):
    """A :class:`Trainer` whose steps have one shape and, on a GPU, are recorded once and replayed.

    Without dropout the numbers equal those of plain steps up to rounding; with it, masks of another shape are drawn.
    On a GPU each trainer has its own stream, so that the steps of several run in parallel.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._replay: Replay | None = None
        super().__init__(*arguments, compiled=False, **settings)
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def _make_optimizer(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            [self.parameters.master],
            lr=torch.zeros((), device=self.device),  # read by the recorded step
            weight_decay=self.config.training.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def epoch_steps(self) -> Iterator[None]:
        """As :meth:`Trainer.epoch_steps`, in this trainer's stream."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        steps = super().epoch_steps()
        while True:
            with self._beside_others():
                if next(steps, self) is self:
                    break
            yield
        if self._stream is not None:
            self._stream.synchronize()  # the state is saved from another stream

    def _beside_others(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _prepare(self, batches: Sequence[np.ndarray], rates: Sequence[float]) -> Callable[[int], Tensor]:
        if self._replay is None:
            rate = self._optimizer.param_groups[0]["lr"]
            n = self.config.training.batch_instructions
            self._replay = Replay(self._data["train"], n, rate, self._dropout)
        replay = self._replay
        replay.load(batches, rates)
        return lambda index: replay.step(index, self._update)

    def train_step(self, indices: np.ndarray, learning_rate: float) -> Tensor:
        """Run one plain step; the learning rate stays a tensor."""
        self._optimizer.param_groups[0]["lr"].fill_(learning_rate)
        return self._update(packed_batch(self._data["train"], indices))

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """As :meth:`Trainer.load_state`; drops the recorded step, which would update the old tensors."""
        self._replay = None
        super().load_state(tensors, values)
