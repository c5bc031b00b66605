#!/usr/bin/env bash
# transformers 5.24.0: `hidden_states` of DeepSeek-V4, HY-V4 and Qwen4-Exp hold four streams, each kind in its own shape.
#
# Behaviour: these models keep four residual streams (hyper-connections). All their states but the last are
# [batch, tokens, 4, width] in DeepSeek-V4 and HY-V4, and [batch, tokens, 4 * width] in Qwen4-Exp; the last, after the
# streams are joined and normed, is [batch, tokens, width]. In the first state the streams are four copies of the
# embedding. A LLaMA's states are all [batch, tokens, width].
#
# Why it surprises: the docstrings of all four say that each is "(batch_size, sequence_length, hidden_size)". What reads
# states by layer takes them without an error and computes something else: `h[:, -1]`, the last token's state, becomes
# four states (or one four times as wide, whose distances at layer 0 are twice the embedding's), `h.mean(-2)`, the mean
# over tokens, becomes one over streams, and layers of one model no longer have one width to compare.
#
# Output seen (CPython 3.11, torch 2.13.0 on a CPU; a batch of 1, 5 tokens, width 32, three blocks):
#   llama: [1, 5, 32] [1, 5, 32] [1, 5, 32] [1, 5, 32], said: (batch_size, sequence_length, hidden_size)
#   deepseek_v4: [1, 5, 4, 32] [1, 5, 4, 32] [1, 5, 4, 32] [1, 5, 32], said: (batch_size, sequence_length, hidden_size)
#   hy_v4: [1, 5, 4, 32] [1, 5, 4, 32] [1, 5, 4, 32] [1, 5, 32], said: (batch_size, sequence_length, hidden_size)
#   qwen4_exp_text: [1, 5, 128] [1, 5, 128] [1, 5, 128] [1, 5, 32], said: (batch_size, sequence_length, hidden_size)
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
small = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48, "head_dim": 8}
small |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}
small |= {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
small |= {"moe_intermediate_size": 16, "bos_token_id": 1, "eos_token_id": 2}
SAID = "(batch_size, sequence_length, hidden_size)"
streams = {"llama": [1, 5, 32], "deepseek_v4": [1, 5, 4, 32], "hy_v4": [1, 5, 4, 32], "qwen4_exp_text": [1, 5, 128]}
for kind, shape in streams.items():
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(type(tf.AutoConfig.for_model(kind))(**small)).eval()
    tokens = torch.tensor([[3, 4, 5, 6, 7]])
    with torch.no_grad():
        states = model(tokens, output_hidden_states=True, use_cache=False).hidden_states
    shapes = [list(state.shape) for state in states]
    said = SAID if SAID in (type(model.base_model).forward.__doc__ or "") else "something else"
    print(f"{kind}: {' '.join(map(str, shapes))}, said: {said}")
    assert shapes == [shape] * 3 + [[1, 5, 32]], f"{kind} has other shapes now"
    assert said == SAID, f"{kind} says so now"
    embedded = model.get_input_embeddings()(tokens)
    copies = states[0].reshape(1, 5, -1, 32).unbind(2)
    assert all(torch.equal(copy, embedded) for copy in copies), f"{kind} begins otherwise"
PYTHON
echo "as described"
