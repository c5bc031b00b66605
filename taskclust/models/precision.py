"""Low precision: bfloat16 if the processor multiplies it faster, with float32 master weights in one flat buffer.

Autocast spends much of a small model's step on copies. Here weights, activations and gradients *are* bfloat16. AdamW
updates one float32 vector of master weights in one fused call, and the bfloat16 weights are refreshed from it.
"""

import contextlib
import mmap
import time
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from taskclust.config import ConfigError, Precision

#: Bytes from which on a buffer is worth large pages, of two megabytes here.
_LARGE = 1 << 23
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def is_here(device: str) -> bool:
    """Whether this machine has the device, "cpu" or "cuda"."""
    return device != "cuda" or torch.cuda.is_available()


def native_bfloat16(device: torch.device | str = "cpu") -> str | None:
    """The processor's instructions for bfloat16 products, e.g. "amx_bf16"; None if it has none."""
    if torch.device(device).type == "cuda":
        return "cuda" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8").split()
    except OSError:
        return None
    return next((flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags), None)


@cache
def matmul_flops(dtype: torch.dtype, device: str = "cpu", size: int = 1024) -> float:
    """Floating-point operations per second of a square matrix product, the best of ten."""
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        a = (a @ a).clamp_(-1, 1)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def bfloat16_pays(device: str = "cpu") -> bool:
    """Whether bfloat16 products are faster than float32 on this device, by timing them.

    Native instructions are not enough: an Intel processor with AVX512-BF16 and no AMX reached only half the speed of
    float32 (84 versus 159 GFLOP/s).
    """
    return native_bfloat16(device) is not None and (
        matmul_flops(torch.bfloat16, device) > matmul_flops(torch.float32, device)
    )


def precisions(precision: Precision, width: int, device: str, *, pays: bool | None = None) -> tuple[Precision, ...]:
    """The precisions that a choice allows, fastest on this device first.

    "auto" allows both, because bfloat16 learns within the spread of float32's seeds. Below width 128 only float32 is
    used, which is no slower there. ``pays`` replaces :func:`bfloat16_pays` if the device is on another machine.

    Raises:
        ConfigError: the precision is unknown.
    """
    if precision == "auto":
        if width < 128:
            return ("float32",)
        pays = bfloat16_pays(device) if pays is None else pays
        return ("bfloat16", "float32") if pays else ("float32", "bfloat16")
    if precision not in _DTYPES:
        raise ConfigError(f"precision={precision!r}: use auto, {', '.join(_DTYPES)}")
    return (precision,)


def buffer(n: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Float[Tensor, " parameter"]:
    """Zeros; where the system offers them, on large pages, of which the processor has to find fewer.

    At width 768 a training step is 7 % quicker for it: each passes once over all weights and what AdamW keeps of them.
    """
    size = n * dtype.itemsize
    if torch.device(device).type != "cpu" or size < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(n, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system made without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype)


class FlatParameters:
    """All parameters of a model as views of one buffer, and a float32 master copy of it with its gradient.

    Frozen parameters are only converted to the same precision.

    Args:
        model: a float32 model; its parameters become views of ``low``.
        precision: "float32", where master and low are the same buffer, or "bfloat16".
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        for frozen in (p for p in model.parameters() if not p.requires_grad):
            frozen.data = frozen.data.to(_DTYPES[precision])
        device = self._parameters[0].device
        flat = buffer(sum(p.numel() for p in self._parameters), torch.float32, device)
        for to, p in zip(self._cut(flat), self._parameters, strict=True):
            to.copy_(p.detach())
        self.master: Float[Tensor, " parameter"] = nn.Parameter(flat)
        self.low = flat  # the same buffer in float32
        if precision != "float32":
            self.low = buffer(len(flat), _DTYPES[precision], device).copy_(flat)
        self._gradients: list[Tensor] = []  # the master gradient, cut like the parameters
        for p, view in zip(self._parameters, self._cut(self.low), strict=True):
            p.data = view

    def _cut(self, flat: Float[Tensor, " parameter"]) -> list[Tensor]:
        """Views of a flat buffer in the parameters' shapes."""
        parts = flat.split([p.numel() for p in self._parameters])
        return [part.view(p.shape) for part, p in zip(parts, self._parameters, strict=True)]

    def collect_gradient(self, max_norm: float) -> None:
        """Move the model's gradients to the master copy, and scale them down to ``max_norm``.

        A parameter that the loss does not depend on gets a gradient of 0.
        """
        if self.master.grad is None:  # compiled steps do without
            self.master.grad = torch.zeros_like(self.master)
            self._gradients = self._cut(self.master.grad)
        pairs = [(to, p.grad) for to, p in zip(self._gradients, self._parameters, strict=True) if p.grad is not None]
        torch._foreach_copy_([to for to, _ in pairs], [gradient for _, gradient in pairs])
        if len(pairs) < len(self._parameters):
            torch._foreach_zero_(
                [to for to, p in zip(self._gradients, self._parameters, strict=True) if p.grad is None]
            )
        for p in self._parameters:
            p.grad = None
        norm = torch.linalg.vector_norm(self.master.grad)
        self.master.grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))

    def refresh(self) -> None:
        """Copy changed master weights to the model."""
        if self.low.data_ptr() != self.master.data_ptr():
            self.low.copy_(self.master.detach())

    def load(self, master: Float[Tensor, " parameter"]) -> None:
        """Load saved master weights."""
        self.master.data.copy_(master)
        self.refresh()
