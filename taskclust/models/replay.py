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
WARM_UP = 3


class Replay:
    """Steps on batches of ``n`` of the instructions, or fewer.

    Args:
        data: the instructions.
        n: the most instructions of a step.
        rate: the learning rate as the step reads it, a tensor on the device.
        generator: what the step draws from, on the device.
    """

    def __init__(self, data: Instructions, n: int, rate: Tensor, generator: torch.Generator) -> None:
        self._data, self._rate, self._generator = data, rate, generator
        self._room = data.room(n)
        self._buffers: Batch | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss: Tensor | None = None
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

    def step(self, index: int, update: Callable[[Batch], Tensor]) -> Tensor:
        """Make step ``index`` of the epoch loaded.

        Args:
            index: from 0.
            update: the step: reads a batch, updates the model and returns the loss, without waiting for the device. It
                is called until it is captured; from then on what was captured is replayed.

        Returns:
            The loss, on the device; the next step writes over it.
        """
        assert self._buffers is not None, "load an epoch first"
        for name, whole in zip(_READ, self._epoch, strict=True):
            getattr(self._buffers, name).copy_(whole[index])
        self._rate.copy_(self._rates[index])
        if self._graph is None and (self._data.device.type == "cpu" or self._warm < WARM_UP):
            self._warm += 1
            return update(self._buffers)
        if self._graph is None:  # capturing runs nothing: the replay below is this step
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self._generator)
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self._loss = update(self._buffers)
            self._graph = graph
        self._graph.replay()
        assert self._loss is not None
        return self._loss
