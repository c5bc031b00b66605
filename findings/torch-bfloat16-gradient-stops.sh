#!/usr/bin/env bash
# torch 2.13.0, CPU: the bfloat16 gradient of an embedding stops growing after 256 equal addends; index_select's does not.
#
# Behaviour: of a table in bfloat16, row 0 is taken n times and the sum of what was taken is differentiated, so each
# number's gradient is n. `torch.nn.functional.embedding` and `table[index]` give n up to 256, and 256 ever after: they
# add one by one in bfloat16, where 256 + 1 is 256. `index_select`, `gather`, `expand` and a product with one-hot rows
# round only the sum: 4,992 for 5,000. Of 5,000 random addends of mean and deviation 1 the first two give about a
# fifth. In float16 they stop at 2,048.
#
# Why it surprises: six ways to take the same rows, equal in the forward pass and in the gradient of few repeats, differ
# twentyfold after many. Sums in bfloat16 are elsewhere kept in float32, and nothing warns. In a batch of some thousand
# tokens the commonest one is there more than 256 times, so where its addends agree in sign, a model that is trained in
# bfloat16 on a CPU gets a part of that row's gradient, and the larger the batch, the smaller the part.
#
# Output seen (CPython 3.11, one thread or two):
#   bfloat16, 256 ones: embedding 256, table[index] 256, index_select 256, gather 256, expand 256, one-hot product 256
#   bfloat16, 5000 ones: embedding 256, table[index] 256, index_select 4992, gather 4992, expand 4992, one-hot product 4992
#   float16, 5000 ones: embedding 2048, table[index] 2048, index_select 5000, gather 5000, expand 5000, one-hot product 5000
#   bfloat16, 5000 random: embedding 1072, table[index] 1072, index_select 4960, gather 4960, expand 4960, one-hot product 4960
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch

def ways(n):
    index = torch.zeros(n, dtype=torch.long)
    return {
        "embedding": lambda table: torch.nn.functional.embedding(index, table),
        "table[index]": lambda table: table[index],
        "index_select": lambda table: table.index_select(0, index),
        "gather": lambda table: table.gather(0, index[:, None].expand(-1, 4)),
        "expand": lambda table: table[:1].expand(n, -1),
        "one-hot product": lambda table: torch.nn.functional.one_hot(index, 3).to(table.dtype) @ table,
    }


def shown(name, weights):
    found = {}
    for way, take in ways(len(weights)).items():
        table = torch.ones(3, 4, dtype=weights.dtype, requires_grad=True)
        (take(table) * weights[:, None]).sum().backward()
        found[way] = table.grad[0, 0].item()
    print(f"{name}: {', '.join(f'{way} {value:g}' for way, value in found.items())}")
    one_by_one = found.pop("embedding"), found.pop("table[index]")
    return *one_by_one, *found.values()


few, many = torch.ones(256), torch.ones(5_000)
assert shown("bfloat16, 256 ones", few.bfloat16()) == (256,) * 6
assert shown("bfloat16, 5000 ones", many.bfloat16()) == (256,) * 2 + (4992,) * 4, "they add otherwise now"
assert shown("float16, 5000 ones", many.half()) == (2048,) * 2 + (5000,) * 4
random = 1 + torch.randn(5_000, generator=torch.Generator().manual_seed(0))
embedded, indexed, *others = shown("bfloat16, 5000 random", random.bfloat16())
total = random.sum().item()
assert embedded == indexed < 0.4 * total, "they add otherwise now"
assert all(abs(other - total) < 0.02 * total for other in others)
PYTHON
echo "as described"
