#!/usr/bin/env bash
# transformers 5.24.0: a folder without a tokenizer gives a tokenizer that turns every text into nothing, or one token.
#
# Behaviour: `model.save_pretrained(folder)` saves no tokenizer, as documented. `AutoTokenizer.from_pretrained(folder)`
# then raises for a LLaMA or a BLOOM. For GPT-2, OPT, Qwen2, GPT-NeoX and Mamba it makes a tokenizer of the configuration
# alone, without words, which gives an empty list for any text; Gemma 2's gives one unknown token. Nothing is logged.
#
# Why it surprises: whether the same mistake is an error depends on the kind of model. Fine-tuned models are often saved
# without their tokenizer. A batch filled up to a length, or a text to which a special token is added, then goes through
# the model as usual: all texts have equal states, and a probe of them gives numbers.
#
# Output seen (CPython 3.11, no network):
#   GPT2: 0 tokens of a sentence
#   OPT: 0 tokens of a sentence
#   Qwen2: 0 tokens of a sentence
#   GPTNeoX: 0 tokens of a sentence
#   Mamba: 0 tokens of a sentence
#   Gemma2: 1 tokens of a sentence
#   Llama: ValueError
#   Bloom: ValueError
#   logged: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys
from pathlib import Path

import transformers as tf

logged = []


class Keep(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())


common = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "bos_token_id": 1, "eos_token_id": 2}
more = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32, "pad_token_id": 0}
tf.utils.logging.disable_progress_bar()
found = {}
for name in ("GPT2", "OPT", "Qwen2", "GPTNeoX", "Mamba", "Gemma2", "Llama", "Bloom"):
    place = Path(sys.argv[1]) / name
    config = getattr(tf, f"{name}Config")(**common, **more)
    tf.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    tf.utils.logging.set_verbosity_warning()
    tf.utils.logging.disable_default_handler()
    tf.utils.logging.add_handler(keep := Keep())
    try:
        found[name] = len(tf.AutoTokenizer.from_pretrained(place)("Water boils at a hundred degrees.").input_ids)
        print(f"{name}: {found[name]} tokens of a sentence")
    except ValueError as error:
        found[name] = type(error).__name__
        print(f"{name}: {found[name]}")
    tf.utils.logging.remove_handler(keep)
    tf.utils.logging.enable_default_handler()
print(f"logged: {len(logged)}")
silent = dict.fromkeys(("GPT2", "OPT", "Qwen2", "GPTNeoX", "Mamba"), 0) | {"Gemma2": 1}
assert found == silent | dict.fromkeys(("Llama", "Bloom"), "ValueError"), "folders without a tokenizer are read otherwise"
assert not logged, f"it is said now: {logged}"
PYTHON
echo "as described"
