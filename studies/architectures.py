"""Which causal language models of transformers can be probed and aligned? Each kind is tried as a tiny model.

``python -m studies.architectures docs/architectures.md`` builds every kind that ``AutoModelForCausalLM`` knows, with
random weights and some thousand parameters. It compares: the states read by :mod:`taskclust.models.language` with those
of each prompt read by itself with plain transformers; an aligned model's continuations of other tasks' prompts with its
base's; its logits before and after it is saved and opened again.
"""

import copy
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from taskclust.config import ConfigError, SwitchConfig, first_line
from taskclust.formats import markdown
from taskclust.models.alignment import Instance, align
from taskclust.models.language import read_checked, require_causal

#: Kinds of causal language model, as transformers names them.
KINDS = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
#: The most parameters of a model that counts as tiny.
MOST_PARAMETERS = 8_000_000


def _all(value: Any, *names: str) -> dict[str, Any]:
    return dict.fromkeys(names, value)


#: Small sizes by their names in configurations.
SMALL = {
    **_all(40, "vocab_size", "vocab_size_per_layer_input", "old_vocab_size",
           "pronunciation_vocab_size", "shape_vocab_size", "unpadded_vocab_size"),
    **_all(32, "hidden_size", "d_model", "n_embd", "dim", "model_dim", "word_embed_proj_dim", "embedding_size",
           "word_embed_size", "emb_dim", "attention_hidden_size", "encoder_hidden_size", "lru_width", "embed_dim",
           "head_hidden_size", "sliding_window"),
    **_all(48, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff", "decoder_ffn_dim",
           "encoder_ffn_dim", "intermediate_size_mlp", "shared_intermediate_size", "mlp_hidden_size",
           "expert_ffn_hidden_size"),
    **_all(16, "moe_intermediate_size", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
           "moe_ffn_hidden_size", "dense_intermediate_size", "mamba_d_head", "mamba_head_dim"),
    **_all(2, "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"),
    **_all(4, "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads",
           "encoder_attention_heads", "linear_num_value_heads", "mamba_n_heads", "mamba_num_heads", "num_experts",
           "n_routed_experts", "num_local_experts", "moe_num_experts", "rotary_dim"),
    **_all(2, "num_key_value_heads", "n_kv_heads", "num_kv_heads", "linear_num_key_heads", "num_experts_per_tok",
           "moe_k", "moe_topk", "experts_per_token", "num_selected_experts", "top_k_experts", "moe_top_k"),
    **_all(8, "head_dim", "attention_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
           "linear_key_head_dim", "linear_value_head_dim", "global_head_dim", "kv_channels", "q_lora_rank",
           "kv_lora_rank", "state_size", "mamba_d_state", "ssm_state_size", "mamba_chunk_size", "chunk_size",
           "time_step_rank", "mamba_dt_rank", "conv_kernel_size", "hidden_size_per_layer_input", "index_head_dim"),
    **_all(1, "mamba_n_groups", "n_groups", "n_group", "topk_group", "num_shared_experts", "n_shared_experts",
           "num_nextn_predict_layers", "first_k_dense_replace", "bos_token_id"),
    **_all(64, "max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length",
           "max_target_positions", "max_source_positions", "context_length", "mamba_d_ssm"),
    "pad_token_id": 0, "eos_token_id": 2, "is_decoder": True,
}  # fmt: skip
#: Further settings that some kinds need.
OWN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"head_dim": 16},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"], "num_buckets": 2},
    "xmod": {"default_language": "en_XX"},
    "zamba2": {"attention_hidden_size": 64, "attention_head_dim": 16, "mamba_headdim": 16, "n_mamba_heads": 4,
               "hybrid_layer_ids": [1], "kv_channels": 8},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


def configuration(kind: str) -> PretrainedConfig:
    """A tiny configuration of the kind: the default with all known sizes made small.

    If a kind has several types of layer, the configuration has one of each, in their order.
    """
    usual = AutoConfig.for_model(kind)
    small = _small(usual)
    for name in getattr(usual, "sub_configs", {}):
        part = getattr(usual, name, None)
        if part is not None:
            small[name] = {**_small(part), "model_type": part.model_type}
    return AutoConfig.for_model(kind, **{**small, **OWN.get(kind, {})})


def _small(usual: PretrainedConfig) -> dict[str, Any]:
    known = usual.to_dict()
    found = {name: SMALL[name] for name in known if name in SMALL}
    if "kv_lora_rank" in found:  # latent attention: as many key heads as query heads
        found["num_key_value_heads"] = found["num_attention_heads"]
    for name in ("layer_types", "layers_block_type"):
        types = list(dict.fromkeys(known.get(name) or ()))
        if len(types) > 1:
            found[name] = types
            found |= _all(len(types), *(key for key in ("num_hidden_layers", "n_layer", "n_layers") if key in known))
    return found


#: Prompts as tokens, grouped by instruction, and the instruction of each.
ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 10, 11], [5, 6, 7, 8, 12], [20, 21, 22], [20, 21, 23]]
INSTRUCTIONS = [0, 0, 0, 1, 1]
SOURCE = [Instance([3, 4, n], [30, 31]) for n in range(5, 9)]
OTHERS = [Instance([20, 21, n]) for n in range(22, 26)]
#: The largest difference that counts as equal, relative to the largest state or logit.
ROUNDING = 2e-4


@dataclass(frozen=True, slots=True)
class Kind:
    """The results of one kind in words: "equal" if a comparison succeeded, empty if it was not reached."""

    kind: str
    built: str = ""
    read: str = ""
    way: str = ""
    continued: str = ""
    reopened: str = ""

    def row(self) -> dict[str, str]:
        """The results as a row of the table."""
        return {
            "kind": self.kind, "size": self.built, "states": self.read, "read": self.way,
            "continued": self.continued, "reopened": self.reopened,
        }  # fmt: skip

    @property
    def is_sound(self) -> bool:
        """Whether nothing was wrong, and all refusals were ours."""
        return not any(
            word.startswith(("differs", "unforeseen")) for word in (self.read, self.continued, self.reopened)
        )


def tried(kind: str) -> Kind:
    """The results for a kind: build it, read it, align it, save it and open it again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the way of reading is a column
        return _tried(kind)


def _tried(kind: str) -> Kind:
    try:
        model, plain = built_tiny(kind)
    except Exception as error:  # noqa: BLE001 - e.g. sizes that do not fit together
        return Kind(kind, f"not built: {type(error).__name__}: {_short(error)}")
    built = f"{model.num_parameters():,}"

    def read() -> tuple[Tensor, str]:
        require_causal(model, kind)
        states, reading = read_checked(model, ROWS, INSTRUCTIONS)
        return states, reading.way

    outcome, found = _attempt(read)
    if found is None:
        return Kind(kind, built, outcome)
    states, way = found
    outcome = _compared(states, plain)
    generator = torch.Generator().manual_seed(0)
    settings = SwitchConfig(epochs=100, head_epochs=30)
    base = copy.deepcopy(model)
    refusal, aligned = _attempt(lambda: align(model, SOURCE, OTHERS, generator=generator, config=settings))
    if aligned is None:
        return Kind(kind, built, outcome, way, refusal)
    continued, _ = _attempt(lambda: _continued(aligned, base))
    reopened, _ = _attempt(lambda: _reopened(aligned))
    return Kind(kind, built, outcome, way, continued, reopened)


def built_tiny(kind: str) -> tuple[PreTrainedModel, Tensor]:
    """A tiny model, and the states of each prompt's last token by plain transformers.

    They are (layers, N, D), with narrower layers padded; empty if there is not one state per token.
    """
    settings = configuration(kind)
    with torch.device("meta"):
        size = AutoModelForCausalLM.from_config(settings).num_parameters()
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters, though every size known to us is small")
    with torch.random.fork_rng():
        torch.manual_seed(0)  # transformers draws from the global generator
        model = AutoModelForCausalLM.from_config(settings).eval()
    with torch.no_grad():
        read = [model(torch.tensor([row]), output_hidden_states=True).hidden_states for row in ROWS]
        found = [[h.flatten(2) if h.dim() > 2 else h for h in states] for states in read]
    if {states.shape[:-1] for states in found[0]} != {(1, len(ROWS[0]))}:
        return model, torch.empty(0)
    width = max(states.shape[-1] for states in found[0])
    ends = [[torch.nn.functional.pad(h[0, -1], (0, width - h.shape[-1])) for h in states] for states in found]
    return model, torch.stack([torch.stack(rows) for rows in ends], dim=1)


def _attempt(do: Callable[[], Any]) -> tuple[str, Any]:
    """The function's own words, or "equal", with its result; if it failed, the reason with None."""
    try:
        found = do()
    except ConfigError as error:
        return f"refused: {_short(error)}", None
    except Exception as error:  # noqa: BLE001 - unforeseen errors are what we look for
        return f"unforeseen: {type(error).__name__}: {_short(error)}", None
    return found if isinstance(found, str) else "equal", found


def _short(error: Exception) -> str:
    text = first_line(error)
    if isinstance(error, ConfigError):  # without the field and the fix
        text = text.partition(": ")[2].partition("; ")[0]
    return text if len(text) <= 100 else f"{text[:97]}..."


def _compared(ours: Tensor, theirs: Tensor) -> str:
    if ours.shape != theirs.shape:
        return f"differs: shape {tuple(ours.shape)} for {tuple(theirs.shape)}"
    worst = float((ours - theirs).abs().max() / theirs.abs().max())
    return "equal" if worst < ROUNDING else f"differs by {worst:.2g}"


def _continued(aligned: PreTrainedModel, base: PreTrainedModel) -> str:
    """Whether other prompts, padded on the left in a batch with a source prompt, continue as with the base."""
    ids = torch.tensor([[0, 0, *OTHERS[0].prompt], [0, *OTHERS[1].prompt, 24], [0, 0, *SOURCE[0].prompt]])
    mask = (ids != 0).long()
    others = ~aligned.takes_for_source(ids, mask)
    if others.all() or not others.any():
        return "its switch tells none apart"
    if not isinstance(base, GenerationMixin):
        with torch.no_grad():
            ours, theirs = aligned(ids, mask).logits, base(ids, attention_mask=mask).logits
        return _compared(ours[others], theirs[others])
    settings = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    ours, theirs = (model.generate(ids, **settings) for model in (aligned, base))
    width = min(ours.shape[1], theirs.shape[1])
    return "equal" if torch.equal(ours[others, :width], theirs[others, :width]) else "differs in a token"


def _reopened(aligned: PreTrainedModel) -> str:
    ids = torch.tensor([OTHERS[0].prompt, SOURCE[0].prompt])
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        aligned.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(folder).eval()
        return _compared(again(ids).logits, aligned(ids).logits)


def page(found: Sequence[Kind]) -> str:
    """The page: counts, then the table."""
    built = [one for one in found if not one.built.startswith("not built")]
    counted = {
        "built": len(built),
        "states equal": sum(one.read == "equal" for one in built),
        "refused by probes": sum(one.read.startswith("refused") for one in built),
        "read and refused by align": sum(one.continued.startswith("refused") for one in built),
        "read with instructions once": sum(one.way == "instructions once" for one in built),
        "aligned and other prompts continued equally": sum(one.continued == "equal" for one in built),
        "saved and reopened equal": sum(one.reopened == "equal" for one in built),
        "wrong or unforeseen": sum(not one.is_sound for one in built),
    }
    return HEAD.format(
        version=transformers.__version__,
        which=f"Every kind of causal language model that transformers knows, {len(KINDS)} in all,"
        if len(found) == len(KINDS)
        else f"Each of {len(found)} kinds of causal language model",
        counts=markdown([{"of them": what, "kinds": n} for what, n in counted.items()]),
        table=markdown([{name: cell.split(":")[0] for name, cell in one.row().items()} for one in found]),
        reasons="\n".join(_reasons(found)),
    )


def _reasons(found: Sequence[Kind]) -> list[str]:
    """A line per thing that is said of kinds besides "equal", after the kinds' names."""
    kinds: dict[str, list[str]] = {}
    for one in found:
        for cell in (one.built, one.read, one.continued, one.reopened):
            if ": " in cell:
                kinds.setdefault(cell.replace("<", "&lt;"), []).append(f"`{one.kind}`")
    return [f"- {', '.join(names)}: {reason}" for reason, names in sorted(kinds.items())]


HEAD = """# Which architectures can be probed and aligned?

Made by `python -m studies.architectures docs/architectures.md` with transformers {version}.
{which} is built tiny, with random weights.
*Size* is its parameters. Three columns say what must be equal:

- *states*: those that `probe` reads, and those of each prompt read by itself;
- *continued*: how the aligned model and its base continue prompts that alignment must not change (the aligned model in
  one batch, padded on the left, with a prompt that it does change);
- *reopened*: the aligned model's logits, and those of the model saved and opened again.

Kinds for which this cannot be promised are refused. *Read* says whether `probe` reads an instruction once for all its
inputs, or every prompt as a whole.

{counts}

Of a kind that is *not built* we know nothing: our small sizes do not fit one another in its configuration, or a part
has to be installed.

{table}

## Why a kind is refused or not built

{reasons}
"""


def main(arguments: Sequence[str]) -> None:
    """Try every kind, or those named after the file, and write the page."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if not arguments or (unknown := sorted({*arguments[1:]} - {*KINDS})):
        what = f"unknown kinds {', '.join(unknown)}" if arguments else "name the page to write"
        raise SystemExit(f"{what}; python -m studies.architectures docs/architectures.md [KIND ...]")
    file, *kinds = arguments
    found = [tried(kind) for kind in tqdm(kinds or KINDS, disable=None)]
    Path(file).write_text(page(found), encoding="utf-8")
    wrong = [one.kind for one in found if not one.is_sound]
    print(f"{len(found)} tried, {len(wrong)} wrong or unforeseen {' '.join(wrong)}")  # noqa: T201 - the result
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
