#!/usr/bin/env bash
# ckatorch 1.0.3: the CKA of two layers over a data loader is that of its last batch; all others are computed, and lost.
#
# Behaviour: two layers give unrelated states in 256 of 260 examples, and equal ones in the other four. In batches of 64
# the last has four examples. If these are the equal ones, `CKA(...)(loader)` is 1.00; of the same examples in reversed
# order, or in one batch of 260, it is 0.02, as it should be. Each batch's result is written over that of the batch
# before. Nothing is raised; where the loader does not shuffle, a warning suggests to, which only changes who is last.
#
# Why it surprises: the docstring says "minibatch version of CKA by Nguyen et al.", the page gives the formula, which
# averages over all batches, and there is a progress bar over all of them. A loader with `drop_last=True` is refused,
# so what counts is the batch that may be the smallest: 4 examples here, and 1 of 257.
#
# Output seen (CPython 3.11, torch 2.13.0 on a CPU):
#   equal in the last 4 of 260: ckatorch 1.00, over all batches 0.02
#   equal in the first 4 of 260: ckatorch 0.02, over all batches 0.02
#   equal in the last 4 of 260, one batch: ckatorch 0.02, over all batches 0.02
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ckatorch==1.0.3 torch==2.13.0 numpy==2.4.6 safetensors==0.8.0 tqdm==4.70.1 \
    matplotlib==3.11.2 seaborn==0.13.2 pyyaml==6.0.3
TQDM_DISABLE=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from ckatorch import CKA
from ckatorch.hsic import hsic1
from torch.utils.data import DataLoader, TensorDataset


class Half(torch.nn.Module):
    """Gives one half of the features, as states of 12 tokens."""

    def __init__(self, number):
        super().__init__()
        self.number, self.layer = number, torch.nn.Identity()

    def forward(self, x):
        return self.layer(x.chunk(2, -1)[self.number])


def by_definition(loader):
    sums = torch.zeros(3, dtype=torch.float64)
    for (batch,) in loader:
        x, y = (half @ half.transpose(1, 2) for half in batch.double().chunk(2, -1))
        sums += torch.stack([hsic1(x, y).sum(), hsic1(x, x).sum(), hsic1(y, y).sum()])
    return float(sums[0] / (sums[1] * sums[2]).sqrt())


states, others = torch.randn(2, 260, 12, 8, generator=torch.Generator().manual_seed(0))
others[256:] = states[256:]
data = torch.cat([states, others], -1)
found = []
for name, examples, size in (
    ("equal in the last 4 of 260", data, 64),
    ("equal in the first 4 of 260", data.flip(0), 64),
    ("equal in the last 4 of 260, one batch", data, 260),
):
    loader = DataLoader(TensorDataset(examples), batch_size=size)
    given = float(CKA(Half(0), Half(1), ["layer"])(loader, epochs=1))
    print(f"{name}: ckatorch {given:.2f}, over all batches {by_definition(loader):.2f}")
    assert by_definition(loader) < 0.1
    found.append(round(given, 2))
assert found[0] == 1, "other batches count now"
assert max(found[1:]) < 0.1
PYTHON
echo "as described"
