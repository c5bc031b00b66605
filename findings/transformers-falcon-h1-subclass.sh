#!/usr/bin/env bash
# transformers 5.24.0: a subclass of FalconH1ForCausalLM that changes nothing opens the same folder as another model.
#
# Behaviour: `class Mine(FalconH1ForCausalLM): pass; Mine.from_pretrained(folder)` leaves `mup_vector`, by which every
# state space layer multiplies what it reads, as the memory happened to be. FalconH1ForCausalLM opens the folder right.
# The loading report is empty of faults and nothing is logged.
#
# Why it surprises: the vector is not saved, so it is set again while the model is opened, by FalconH1Model in its
# layers. For classes outside transformers a module whose weights have all come is left out, and FalconH1Model itself
# has none, so that "all" holds of nothing. Every other model of transformers sets such buffers in the module that has
# them, and a subclass of it opens well: here Mamba-2's, with the same layers.
#
# Output seen (CPython 3.11, torch 2.13.0 on a CPU; the last number is of unset memory):
#   Mamba2ForCausalLM: faults reported 0, largest change of a logit 0.0
#   a subclass of it: faults reported 0, largest change of a logit 0.0
#   FalconH1ForCausalLM: faults reported 0, largest change of a logit 0.0
#   a subclass of it: faults reported 0, largest change of a logit nan
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import warnings

import torch
from transformers import FalconH1Config, FalconH1ForCausalLM, Mamba2Config, Mamba2ForCausalLM, logging

warnings.simplefilter("ignore")
logging.set_verbosity_error()
logging.disable_progress_bar()
common = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2}
configs = {
    Mamba2ForCausalLM: Mamba2Config(**common, num_heads=4, head_dim=16, n_groups=1, state_size=8, chunk_size=8),
    FalconH1ForCausalLM: FalconH1Config(
        **common, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=8, mamba_d_ssm=64,
        mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_chunk_size=8, mamba_n_groups=1,
    ),
}
ids = torch.tensor([[3, 4, 5, 6]])
changes = {}
for kind, config in configs.items():
    torch.manual_seed(0)
    saved = kind(config).eval()
    saved.save_pretrained(f"{sys.argv[1]}/model")
    for name, opener in ((kind.__name__, kind), ("a subclass of it", type("Mine", (kind,), {}))):
        model, report = opener.from_pretrained(f"{sys.argv[1]}/model", output_loading_info=True)
        with torch.no_grad():
            change = float((model.eval()(ids).logits - saved(ids).logits).abs().max())
        changes[kind, opener is kind] = change
        print(f"{name}: faults reported {sum(map(len, report.values()))}, largest change of a logit {change:.3}")
        assert not any(report.values())
is_unset = changes.pop((FalconH1ForCausalLM, False))
assert set(changes.values()) == {0.0}, changes
assert is_unset != 0, "the subclass opens well now"
PYTHON
echo "as described"
