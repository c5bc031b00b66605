#!/usr/bin/env bash
# transformers 5.24.0: AutoModelForCausalLM gives CPM-Ant, XLM and XLNet models whose logits depend on later tokens.
#
# Behaviour: of rows that differ in their last token alone, the logits at the places before it differ, for these three
# kinds as their configurations are by default. Nothing is logged. A LLaMA's are the same to the bit; BERT's differ, too,
# but opening one logs "If you want to use `BertLMHeadModel` as a standalone, add `is_decoder=True`".
#
# Why it surprises: the class is asked for by people who want p(next token | tokens so far). Perplexity, scores of answers
# and probes of "the state before the answer" are then computed in one pass over the whole row, and here each place has
# already read what it is scored on. XLM and XLNet mask later tokens only if told (`causal=True`, `perm_mask`); CPM-Ant
# treats all tokens that are given as context that may look at each other.
#
# Output seen (CPython 3.11, torch 2.13.0 on a CPU):
#   llama: logits before the change move by 0.000 of the largest, logged: nothing
#   cpmant: logits before the change move by 0.597 of the largest, logged: nothing
#   xlm: logits before the change move by 0.529 of the largest, logged: nothing
#   xlnet: logits before the change move by 0.551 of the largest, logged: nothing
#   bert: logits before the change move by 0.426 of the largest, logged: If you want to use `BertLMHeadModel` as...
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import logging
import warnings

import torch
import transformers as tf

warnings.simplefilter("ignore")
log = io.StringIO()
tf.utils.logging.disable_default_handler()
tf.utils.logging.add_handler(logging.StreamHandler(log))
tf.utils.logging.set_verbosity_warning()
configs = {
    "llama": tf.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    ),
    "cpmant": tf.CpmAntConfig(
        vocab_size=40, hidden_size=32, dim_ff=48, num_hidden_layers=2, num_attention_heads=4, dim_head=8
    ),
    "xlm": tf.XLMConfig(vocab_size=40, emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=64),
    "xlnet": tf.XLNetConfig(vocab_size=40, d_model=32, d_inner=48, n_layer=2, n_head=4),
    "bert": tf.BertConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    ),
}
moves, logged = {}, {}
for name, config in configs.items():
    log.seek(0), log.truncate()
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # weights as large as training makes them
        if parameter.dim() >= 2:
            torch.nn.init.normal_(parameter, 0, 0.3)
    with torch.no_grad():
        one, other = (model(torch.tensor([[3, 4, 5, last]])).logits[0] for last in (6, 7))
    moves[name] = float((one[:3] - other[:3]).abs().max() / one.abs().max())
    logged[name] = (log.getvalue().strip().splitlines() or ["nothing"])[0]
    print(f"{name}: logits before the change move by {moves[name]:.3f} of the largest, logged: {logged[name]}")
assert moves["llama"] == 0
assert "is_decoder=True" in logged["bert"]
for name in ("cpmant", "xlm", "xlnet"):
    assert moves[name] > 0.01, f"{name} no longer looks ahead"
    assert logged[name] == "nothing", f"{name} is warned of now"
PYTHON
echo "as described"
