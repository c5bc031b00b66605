#!/usr/bin/env bash
# transformers 5.24.0: a tokenizer.json beside a GGUF file replaces the file's own tokenizer, without a word.
#
# Behaviour: `AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")` reads the vocabulary that is in the file. If
# the folder also has a `tokenizer.json`, e.g. that of the model which another file in it was made from, that one is
# read, and the file's is not. The call does not change, and nothing is logged.
#
# Why it surprises: a GGUF file holds its tokenizer so that it can be used alone, and the caller names the file. Folders of
# several quantized models are common, and so are repositories with GGUF files beside the original's files. Tokens
# of another vocabulary have ids that the model knows, so it answers, and every hidden state is of another text.
#
# Output seen (CPython 3.11, gguf 0.19.0):
#   alone: ['abc', 'ab'] = [6, 5]
#   beside a tokenizer.json: ['a', 'b', 'c', 'a', 'b'] = [1, 2, 3, 1, 2]
#   warnings: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 tokenizers==0.23.3 accelerate==1.15.0 \
  gguf==0.19.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys
import warnings
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging as hf_logging

logged = []


class Keep(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())


hf_logging.set_verbosity_warning()
hf_logging.disable_default_handler()
hf_logging.add_handler(Keep())


def write(path):
    """A Llama of one layer whose vocabulary has merged letters."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(16)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(8)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["<s>", "</s>", "a", "b", "c", "ab", "abc", "d"])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_tensor("token_embd.weight", np.zeros((8, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def letters():
    """Another tokenizer, of single letters."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "c": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


def read(place):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file="model.gguf")
    ids = tokenizer("abc").input_ids + tokenizer("ab").input_ids
    return tokenizer.convert_ids_to_tokens(ids), ids, [str(one.message) for one in caught]


alone, beside = Path(sys.argv[1]) / "alone", Path(sys.argv[1]) / "beside"
for place in (alone, beside):
    place.mkdir()
    write(place / "model.gguf")
letters().save_pretrained(beside)

own, own_ids, _ = read(alone)
logged.clear()
other, other_ids, warned = read(beside)
print(f"alone: {own} = {own_ids}")
print(f"beside a tokenizer.json: {other} = {other_ids}")
print(f"warnings: {len([one for one in (*logged, *warned) if 'token' in one.lower()])}")
assert own == ["abc", "ab"], "the file's own tokenizer is read otherwise"
assert other == ["a", "b", "c", "a", "b"], "the file's own tokenizer is read, as it is named"
assert not [one for one in (*logged, *warned) if "token" in one.lower()], "there is a warning now"
PYTHON
echo "as described"
