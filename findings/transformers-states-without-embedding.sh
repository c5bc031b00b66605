#!/usr/bin/env bash
# transformers 5.24.0: `hidden_states` of Mamba, Mamba-2, FalconMamba and RWKV models begin with the first block's output.
#
# Behaviour: a model of three blocks gives four states, as every kind does. A LLaMA's are the embedding, the output of
# blocks 1 and 2, and that of block 3 after the model's norm. Of the four recurrent kinds the embedding is left out, and
# block 3 is there twice: as it is, and after the norm. Falcon-H1, half of which is Mamba-2, does as LLaMA does.
#
# Why it surprises: the docstrings of all say "one for the output of the embeddings, ..., + one for the output of each
# layer", and the number of states is as said. So whoever plots a probe by layer compares LLaMA's block k with Mamba's
# block k + 1; and layer 0, often taken as the baseline that has read nothing but its own token, has read them all.
#
# Output seen (CPython 3.11, torch 2.13.0 on a CPU):
#   Llama: embedding, block 1, block 2, norm of block 3; says "one for the output of the embeddings"
#   FalconH1: embedding, block 1, block 2, norm of block 3; says "one for the output of the embeddings"
#   Mamba: block 1, block 2, block 3, norm of block 3; says "one for the output of the embeddings"
#   Mamba2: block 1, block 2, block 3, norm of block 3; says "one for the output of the embeddings"
#   FalconMamba: block 1, block 2, block 3, norm of block 3; says "one for the output of the embeddings"
#   Rwkv: block 1, block 2, block 3, norm of block 3; says "one for the output of the embeddings"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
import transformers as tf

warnings.simplefilter("ignore")
tf.utils.logging.set_verbosity_error()
common = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "bos_token_id": 1, "eos_token_id": 2}
heads = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
configs = {
    "Llama": heads,
    "FalconH1": heads
    | {"head_dim": 8, "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8}
    | {"mamba_chunk_size": 8, "mamba_n_groups": 1},
    "Mamba": {"state_size": 8},
    "Mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8, "chunk_size": 8},
    "FalconMamba": {"state_size": 8},
    "Rwkv": {"attention_hidden_size": 32},
}
ids = torch.tensor([[3, 4, 5, 6, 7]])
USUAL = ["embedding", "block 1", "block 2", "norm of block 3"]
SAYS = "one for the output of the embeddings"
found, says = {}, {}
for name, settings in configs.items():
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(getattr(tf, f"{name}Config")(**common, **settings)).eval()
    blocks = next(part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList))
    known = {"embedding": model.get_input_embeddings()(ids)}

    def keep(number, output):
        known[f"block {number}"] = output[0] if isinstance(output, tuple) else output

    for number, block in enumerate(blocks, 1):
        block.register_forward_hook(lambda _, __, output, number=number: keep(number, output))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
        known["norm of block 3"] = model.base_model(ids).last_hidden_state
    found[name] = [next(k for k, state in known.items() if torch.equal(state, h)) for h in out.hidden_states]
    says[name] = SAYS in (type(model.base_model).forward.__doc__ or "")
    print(f"{name}: {', '.join(found[name])}" + (f'; says "{SAYS}"' if says[name] else ""))
assert found["Llama"] == found["FalconH1"] == USUAL
for name in ("Mamba", "Mamba2", "FalconMamba", "Rwkv"):
    assert found[name] == ["block 1", "block 2", "block 3", "norm of block 3"], f"{name} begins with the embedding now"
    assert says[name], f"{name} no longer says so"
PYTHON
echo "as described"
