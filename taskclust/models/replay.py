"""A training step of one shape, recorded once and replayed: a GPU then does not wait for its kernels to be launched.

A step of a small model is some 1,500 kernels of microseconds each, and Python starts them slower than they end. Batches
are padded to one shape (what is padded weighs nothing), an epoch of them is brought to the device at once, and a step
is a copy into fixed buffers and the replay of a CUDA graph that was captured there. On a CPU the same steps run
plainly, which is how the tests see that padding changes nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from taskclust.models.batches import Batch, Instructions, host_batch

#: What a step reads of a batch; the rest is for probing, and its shape would vary.
_READ = ("tokens", "positions", "mask", "predict_at", "targets", "weights")
#: Plain steps before the capture: libraries set themselves up in their first calls.
_WARM_UP = 3


class Replay:
    """Steps of ``update`` on batches of ``n`` of the instructions, or fewer.

    Args:
        update: the step: reads a batch, updates the model, returns the loss; without waiting for the device.
        data: the instructions.
        n: the most instructions of a step.
        rate: the learning rate as ``update`` reads it, a tensor on the device.
        generator: what ``update`` draws from, on the device.
    """

    def __init__(
        self, update: Callable[[Batch], Tensor], data: Instructions, n: int, rate: Tensor, generator: torch.Generator
    ) -> None:
        self._update, self._data, self._rate, self._generator = update, data, rate, generator
        self._room = data.room(n)
        self._buffers: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss = torch.zeros(())
        self._warm = 0

    def load(self, batches: Sequence[np.ndarray], rates: Sequence[float]) -> None:
        """Bring an epoch's batches, indices of instructions, and its learning rates to the device."""
        packed = [host_batch(self._data, indices, room=self._room) for indices in batches]
        device = self._data.device
        self._epoch = [torch.stack([getattr(batch, name) for batch in packed]).to(device) for name in _READ]
        self._rates = torch.tensor(rates, device=device)
        if self._buffers is None:
            nowhere = torch.zeros(0, dtype=torch.long, device=device)
            fixed = dict(zip(_READ, (whole[0].clone() for whole in self._epoch), strict=True))
            self._buffers = Batch(**fixed, input_at=nowhere, instruction_end_at=nowhere)

    def step(self, index: int) -> Tensor:
        """Make the epoch's step of that number; the loss stays on the device, until the next step."""
        assert self._buffers is not None, "load an epoch first"
        for name, whole in zip(_READ, self._epoch, strict=True):
            getattr(self._buffers, name).copy_(whole[index])
        self._rate.copy_(self._rates[index])
        if self._graph is None and (self._data.device.type == "cpu" or self._warm < _WARM_UP):
            self._warm += 1
            return self._update(self._buffers)
        if self._graph is None:  # capturing runs nothing: the replay below is this step
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self._generator)
            with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream()):
                self._loss = self._update(self._buffers)
        self._graph.replay()
        return self._loss
