#!/usr/bin/env bash
# transformers 5.24.0: while one thread opens a model, a tied model made in another thread is not tied.
#
# Behaviour: during `from_pretrained` the method `tie_weights` of all models of the process does nothing. A
# `GPT2LMHeadModel` made by another thread meanwhile says tie_word_embeddings=True in its configuration, but its head has
# weights of its own, as many as its embedding. Before and after, such a model is tied.
#
# Why it surprises: the two models have nothing in common, nothing is raised or warned, and the second one is trained and
# saved as another architecture. Threads that open models are usual in servers and in programs that start runs. Opening
# in two threads at once has left weights without data, too.
#
# Output seen (CPython 3.11, torch 2.13.0+cpu):
#   before: tied
#   while another model is opened: NOT tied, although its configuration says so
#   after: tied
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.4.6
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder/model" <<'PYTHON'
import sys
import threading

from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

logging.disable_progress_bar()
config = GPT2Config(vocab_size=50, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
is_opening, may_go_on = threading.Event(), threading.Event()


class Slow(GPT2LMHeadModel):
    """Waits in the middle of being made, as a large model does."""

    def __init__(self, config):
        is_opening.set()
        may_go_on.wait(60)
        super().__init__(config)


def is_tied():
    model = GPT2LMHeadModel(config)
    assert model.config.tie_word_embeddings
    return model.lm_head.weight is model.transformer.wte.weight


GPT2LMHeadModel(config).save_pretrained(sys.argv[1])
found = {"before": is_tied()}
thread = threading.Thread(target=Slow.from_pretrained, args=[sys.argv[1]])
thread.start()
is_opening.wait(60)
found["while another model is opened"] = is_tied()
may_go_on.set()
thread.join()
found["after"] = is_tied()
for when, tied in found.items():
    print(f"{when}: {'tied' if tied else 'NOT tied, although its configuration says so'}")
assert list(found.values()) == [True, False, True], "no longer as described"
PYTHON
echo "as described"
