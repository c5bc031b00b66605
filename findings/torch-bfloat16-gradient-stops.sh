#!/usr/bin/env bash
# torch 2.13.0, CPU: the bfloat16 gradient of an embedding stops growing after 256 equal addends; index_select's does not.
#
# Behaviour: of a table in bfloat16, row 0 is taken 5,000 times and the sum of what was taken is differentiated. The
# gradient of a number in row 0 is 5,000; in bfloat16 the nearest is 4,992. `index_select`, `gather` and `expand` give
# that. `torch.nn.functional.embedding` and `table[index]` give 256: they add one by one in bfloat16, where 256 + 1 is
# 256. In float16 they stop at 2,048.
#
# Why it surprises: six ways to take the same rows, equal in the forward pass, and with the same gradient up to 256
# repeats, differ twentyfold after it. Sums in bfloat16 are elsewhere kept in float32 (`sum`, `scatter_add`, products),
# and nothing warns. A batch of a few thousand tokens has its commonest token, or its padding, more than 256 times, so
# in a model that is trained in bfloat16 on a CPU that row's gradient is cut off, and the cut depends on the batch.
#
# Output seen (CPython 3.11, one thread or two):
#   bfloat16: embedding 256, table[index] 256, index_select 4992, gather 4992, expand 4992, one-hot product 4992
#   float16: embedding 2048, table[index] 2048, index_select 5000, gather 5000, expand 5000, one-hot product 5000
#   float32: embedding 5000, table[index] 5000, index_select 5000, gather 5000, expand 5000, one-hot product 5000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch

TAKEN = 5_000
index = torch.zeros(TAKEN, dtype=torch.long)
ways = {
    "embedding": lambda table: torch.nn.functional.embedding(index, table),
    "table[index]": lambda table: table[index],
    "index_select": lambda table: table.index_select(0, index),
    "gather": lambda table: table.gather(0, index[:, None].expand(-1, 4)),
    "expand": lambda table: table[:1].expand(TAKEN, -1),
    "one-hot product": lambda table: torch.nn.functional.one_hot(index, 3).to(table.dtype) @ table,
}
expected = {torch.bfloat16: (256, 4992), torch.float16: (2048, 5000), torch.float32: (5000, 5000)}
for dtype, (one_by_one, rounded) in expected.items():
    found = {}
    for name, take in ways.items():
        table = torch.ones(3, 4, dtype=dtype, requires_grad=True)
        take(table).sum().backward()
        found[name] = table.grad[0, 0].item()
    print(f"{str(dtype).removeprefix('torch.')}: {', '.join(f'{name} {value:g}' for name, value in found.items())}")
    for name, value in found.items():
        assert value == (one_by_one if name in ("embedding", "table[index]") else rounded), f"{name} differs now"
PYTHON
echo "as described"
