#!/usr/bin/env bash
# x-transformers 2.31.10: a `Decoder` with orthogonal updates learns to predict random tokens: it reads the next one.
#
# Behaviour: rows of four tokens are drawn evenly and independently from four, so no model can get a loss on unseen rows
# below log 4 = 1.39. A plain Decoder gets that. With `orthog_residual=True`, `attn_orthog_projected_values=True` or
# `mv_split_residual=True` it gets 0.00 to 0.01 after 300 steps. The first two take from an update its part along the
# state, but all numbers of a row, of all tokens, are one vector to them: the update is orthogonal to the whole row,
# not to its tokens. The third takes means over all tokens. Nothing is raised or warned.
#
# Why it surprises: `Decoder` is the class that is causal, and its attention is; what reads ahead is the sum around it,
# which nobody suspects of mixing tokens, and no test of a mask finds it. A loss far below the plain model's looks like
# a success of the option, until text is generated, where there is no later token to read.
#
# Output seen (CPython 3.11, torch 2.13.0 on a CPU):
#   rotary_pos_emb: loss on random tokens 1.39
#   orthog_residual: loss on random tokens 0.00
#   attn_orthog_projected_values: loss on random tokens 0.01
#   mv_split_residual: loss on random tokens 0.00
#   cosine of update and state: largest of a token 0.44, of the row 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet x-transformers==2.31.10 torch==2.13.0 numpy==2.4.6 einops==0.8.2 einx==0.4.3 \
    torch-einops-utils==0.2.0 loguru==0.7.3 packaging==26.4
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math

import torch
from x_transformers import Decoder, TransformerWrapper
from x_transformers.x_transformers import OrthogonalResidualUpdate

torch.set_num_threads(1)


def loss_of(model, generator):
    rows = torch.randint(4, (256, 4), generator=generator)
    return torch.nn.functional.cross_entropy(model(rows)[:, :-1].flatten(0, 1), rows[:, 1:].flatten())


losses = {}
for option in ("rotary_pos_emb", "orthog_residual", "attn_orthog_projected_values", "mv_split_residual"):
    torch.manual_seed(0)
    layers = Decoder(dim=32, depth=2, heads=2, attn_dim_head=16, verbose=False, **{option: True})
    model = TransformerWrapper(num_tokens=4, max_seq_len=16, attn_layers=layers)
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=3e-3), torch.Generator().manual_seed(1)
    for _ in range(300):
        optimizer.zero_grad()
        loss_of(model, generator).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        losses[option] = sum(loss_of(model, generator).item() for _ in range(20)) / 20
    print(f"{option}: loss on random tokens {losses[option]:.2f}")
assert losses.pop("rotary_pos_emb") > math.log(4) - 0.01
for option, loss in losses.items():
    assert loss < 0.5, f"{option} no longer reads ahead"

state, update = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(0))
added = OrthogonalResidualUpdate(8)(update, state) - state
of_tokens = float(torch.nn.functional.cosine_similarity(added, state, dim=-1).abs().max())
of_row = float(torch.nn.functional.cosine_similarity(added.flatten(), state.flatten(), dim=0).abs())
print(f"cosine of update and state: largest of a token {of_tokens:.2f}, of the row {of_row:.2f}")
assert of_tokens > 0.1 and of_row < 1e-3, "the update is orthogonal to each token now"
PYTHON
echo "as described"
