"""Aligning a causal language model with little forgetting: a switch between its head and a new one (§4.2).

:func:`align` takes any Hugging Face causal language model, instances of the source tasks with the outputs they should
have, and a few other instances. The model itself is never changed: a switch network reads the top layer's state of the
last token and, for prompts that it classifies as a source task's, activates a new head trained on the source instances.

Shapes: B rows, T tokens, D width, V vocabulary, N instances, P predictions.
"""

import copy
import numbers
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from taskclust.config import ConfigError, SwitchConfig, require
from taskclust.data import Split
from taskclust.models.interface import MAKING, capacity

Tokens = Sequence[int]


class Instance(NamedTuple):
    """A prompt, ``[I; x]`` in the paper, and its desired response; empty if only the switch reads it."""

    prompt: Tokens
    response: Tokens = ()


def instances_of(split: Split) -> list[Instance]:
    """The instances ``[I; x; y]`` of a split, in order: ``[I; x]`` is the prompt and ``[y]`` the response."""
    return [Instance([*instruction, x], [y]) for instruction, x, y in split.instances()]


class Switch(nn.Sequential):
    """One logit per state, positive for "source task": a linear layer, or three of width D with ReLU between."""

    def __init__(self, kind: str, width: int) -> None:
        hidden = [] if kind == "linear" else [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        super().__init__(*hidden, nn.Linear(width, 1))

    def initialize(self, generator: torch.Generator) -> "Switch":
        """Draw every weight and bias uniformly within ±1/sqrt(D), as a linear layer does, but from ``generator``."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                for parameter in module.parameters():
                    drawn = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
                    with torch.no_grad():
                        parameter.copy_(drawn)
        return self


class AlignedConfig(PretrainedConfig):
    """The settings of an aligned model, saved with its weights: those of its base, and the kind of its switch."""

    model_type = "taskclust-aligned"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}

    def __init__(
        self, text_config: PretrainedConfig | dict[str, Any] | None = None, switch: str = "mlp", **kwargs: Any
    ) -> None:
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        # a copy: transformers sets a part's attention again in the whole's configuration
        self.text_config, self.switch = copy.deepcopy(text_config), switch
        kwargs["tie_word_embeddings"] = False  # its base may tie its own
        super().__init__(**kwargs)


class AlignedModel(PreTrainedModel, GenerationMixin):
    """A base model, a switch and two language heads: the base's own and a new one.

    The last token decides for the whole row which head is used. In :meth:`generate` the prompt's last token decides,
    and the choice is kept.

    Args:
        config: the settings.
        base: the model to align; by default one built from the configuration, to load weights into.
    """

    config_class = AlignedConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: AlignedConfig, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.base = AutoModelForCausalLM.from_config(config.text_config) if base is None else base
        self.new_head = copy_head(self.base)
        self.switch = Switch(config.switch, self.new_head.in_features)
        self.post_init()
        if isinstance(self.base, GenerationMixin):
            self.generation_config = copy.deepcopy(self.base.generation_config)
        else:  # it has no cache, so every step reads the whole row
            self.generation_config.use_cache = False

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: the base is trained, the head is a copy of the base's, the switch draws from a generator."""

    def initialize_weights(self) -> None:
        """Set what is not saved as the base does.

        When transformers 5.24 opens a class of ours, it skips modules without weights, in which Falcon-H1 sets part of
        itself: without this, an aligned Falcon-H1 has other states after it is saved and opened again.
        """
        self.base.initialize_weights()

    def get_input_embeddings(self) -> nn.Module:
        """The base's input embeddings, which alignment does not change."""
        return self.base.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """None: of two heads, transformers must not tie or resize only one."""

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        is_source: Bool[Tensor, " B"] | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        output_hidden_states: bool = False,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Predict the next token at every position with the head that the switch chooses.

        Args:
            input_ids: tokens.
            attention_mask: 1 for tokens and 0 for padding, on either side.
            position_ids: positions of the tokens; by default the base's.
            is_source: the choice for each row, True for the new head; by default the switch's.
            labels: tokens to predict, for the cross-entropy loss; -100 where none is counted.
            output_hidden_states: return the base's hidden states.
            logits_to_keep: predict only at this many last positions; by default at all.
            kwargs: passed to the base, e.g. its cache.

        Returns:
            ``logits`` [B, T, V], ``loss`` if there are ``labels``, and the base's cache.
        """
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        kwargs |= {"output_hidden_states": True, "return_dict": True}
        out = self.base(input_ids, attention_mask=attention_mask, **kwargs)
        states = top_states(out.hidden_states)
        if is_source is None:
            is_source = self.decide(real_end_states(states, attention_mask))
        logits = torch.where(is_source[:, None, None], self.new_head(states), out.logits)
        if labels is not None:
            out.loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        out.logits = logits[:, -logits_to_keep:]
        if not output_hidden_states:
            out.hidden_states = None
        return out

    def save_pretrained(self, *where: Any, **kwargs: Any) -> None:
        """Save like any model of transformers.

        Raises:
            ConfigError: transformers could not open the saved model.
        """
        settings = copy.deepcopy(self.config.text_config)
        try:
            with MAKING, torch.device("meta"):
                AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
        except ValueError as error:
            fix = "transformers cannot build it from its configuration; register its classes with AutoConfig and "
            raise ConfigError(f"base={type(self.base).__name__!r}: {fix}AutoModelForCausalLM") from error
        super().save_pretrained(*where, **kwargs)

    def decide(self, states: Float[Tensor, "B D"]) -> Bool[Tensor, " B"]:
        """Whether the switch classifies these top states of last tokens as a source task's."""
        return self.switch(states).squeeze(-1) > 0

    @torch.no_grad()
    def takes_for_source(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Tensor | None = None
    ) -> Bool[Tensor, " B"]:
        """The switch's choice for whole prompts, each read without its padding, which not every model can ignore."""
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [ids[mask.bool()] for ids, mask in zip(input_ids, real, strict=True)]
        chosen = torch.zeros(len(rows), dtype=torch.bool, device=input_ids.device)
        for length in {len(row) for row in rows}:
            some = [n for n, row in enumerate(rows) if len(row) == length]
            out = self.base(torch.stack([rows[n] for n in some]), output_hidden_states=True, return_dict=True)
            chosen[some] = self.decide(top_states(out.hidden_states)[:, -1])
        return chosen

    @torch.no_grad()
    def generate(
        self, inputs: Int[Tensor, "B T"] | None = None, *, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Continue prompts as the base does; the arguments are those of transformers' ``generate``.

        The base itself generates all rows with each head that is needed. So its answers to prompts of other tasks are
        bitwise unchanged, whatever its architecture.

        Raises:
            ConfigError: scores or states are requested for rows with different heads.
        """
        inputs = kwargs.pop("input_ids") if inputs is None else inputs
        is_source = self.takes_for_source(inputs, attention_mask)
        if attention_mask is not None:
            kwargs["attention_mask"] = attention_mask
        if not isinstance(self.base, GenerationMixin):
            return super().generate(inputs, is_source=is_source, **kwargs)
        settings = {"generation_config": self.generation_config, **kwargs}
        found = {head: self._generate(inputs, head, settings) for head in sorted(set(is_source.tolist()))}
        if len(found) == 1:
            return next(iter(found.values()))
        if not all(isinstance(part, Tensor) for part in found.values()):
            fix = "the rows need different heads; give each head's rows separately, see takes_for_source"
            raise ConfigError(f"return_dict_in_generate=True: {fix}")
        width = max(part.shape[1] for part in found.values())
        pad = _padding(kwargs, self.generation_config)
        parts = [F.pad(found[head], (0, width - found[head].shape[1]), value=pad) for head in (True, False)]
        return torch.where(is_source.repeat_interleave(len(parts[0]) // len(is_source))[:, None], *parts)

    def _generate(self, inputs: Int[Tensor, "B T"], is_source: bool, settings: dict[str, Any]) -> Any:
        """The base's output with its own head, or with the new one."""
        own = self.base.get_output_embeddings()
        try:
            if is_source:
                self.base.set_output_embeddings(self.new_head)
            return self.base.generate(inputs, **settings)
        finally:
            self.base.set_output_embeddings(own)


def _padding(given: dict[str, Any], own: Any) -> int:
    """The token after a finished row, as transformers chooses it: the pad token, else the first end token.

    Arguments precede a configuration that is passed, which precedes the model's own. Without either token no row is
    finished before the others.
    """
    configs = [config for config in (given.get("generation_config"), own) if config is not None]
    for name in ("pad_token_id", "eos_token_id"):
        for found in (given.get(name), *(getattr(config, name, None) for config in configs)):
            if found is not None:
                return int(torch.as_tensor(found).flatten()[0])
    return 0


def copy_head(model: PreTrainedModel) -> nn.Linear:
    """A separate copy of the model's language head, which may be tied.

    Raises:
        ConfigError: the model has no linear language head.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"model={type(model).__name__}: it has no linear language head; use a causal language model")
    return copy.deepcopy(head).requires_grad_(True)


def top_states(hidden_states: Sequence[Float[Tensor, "B T D"]]) -> Float[Tensor, "B T D"]:
    """The last layer's states after the last norm, which the language head reads."""
    return hidden_states[-1]


def real_end_states(states: Float[Tensor, "B T D"], attention_mask: Tensor | None) -> Float[Tensor, "B D"]:
    """The state of each row's last token that is not padding."""
    if attention_mask is None:
        return states[:, -1]
    mask = attention_mask[:, -states.shape[1] :]  # it may also cover cached tokens
    last = mask.shape[1] - 1 - mask.flip(-1).long().argmax(-1)
    return states[torch.arange(len(states), device=states.device), last]


def freeze_trunk(model: PreTrainedModel) -> PreTrainedModel:
    """Make only the language head trainable, in place, and untie it so that the embeddings do not change."""
    head = copy_head(model)
    model.requires_grad_(False)
    model.set_output_embeddings(head)
    model.config.tie_word_embeddings = False
    return model


class Reading(NamedTuple):
    """Top states of instances read by a frozen model, and the tokens that follow them."""

    last: Float[Tensor, "N D"]  # of each prompt's last token
    states: Float[Tensor, "P D"]
    targets: Int[Tensor, " P"]
    owner: Int[Tensor, " P"]  # the instance of each prediction
    in_response: Bool[Tensor, " P"]


def _require_tokens(model: PreTrainedModel, instances: Sequence[Instance]) -> None:
    """Refuse instances that are no rows of the model's tokens, or longer than its context."""
    known, limit = capacity(model)
    for number, one in enumerate(instances):
        row, name = [*one.prompt, *one.response], f"instance {number}"
        is_flat = all(isinstance(token, numbers.Integral) or getattr(token, "ndim", 1) == 0 for token in row)
        require(is_flat, name, str(row)[:60], "give flat rows of tokens, e.g. tokenizer(text).input_ids")
        worst = min(row) if min(row) < 0 else max(row)
        require(0 <= worst < known, name, int(worst), f"this token is not one of the model's {known}")
        n = len(row) - bool(len(one.response))  # a response's last token is predicted, never read
        require(n <= limit, name, n, f"these are more tokens than the model's context, {limit}; shorten it")


@torch.no_grad()
def read(model: PreTrainedModel, instances: Sequence[Instance], batch_instances: int = 32) -> Reading:
    """The states of instances, read without dropout; puts ``model`` into evaluation mode.

    Raises:
        ConfigError: a prompt is empty, has other than the model's tokens or more than its positions, or the model's
            logits are not its head applied to its last hidden state.
    """
    if not instances or not all(len(i.prompt) for i in instances):
        raise ConfigError(f"instances={len(instances)}: give at least one, each with a prompt of a token or more")
    _require_tokens(model, instances)
    model.eval()
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(instances), batch_instances):
        chunk = instances[start : start + batch_instances]
        rows = [torch.tensor([*i.prompt, *i.response]) for i in chunk]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
        sizes, prompts = (torch.tensor(n, device=model.device) for n in zip(*_sizes(chunk), strict=True))
        # a response's last token is predicted, never read: the longest instance may have no position for it
        width = int(torch.maximum(sizes - 1, prompts).max())
        place = torch.arange(width, device=model.device)
        mask = place < sizes[:, None]
        out = model(ids[:, :width], attention_mask=mask.long(), output_hidden_states=True)
        states = top_states(out.hidden_states)
        _check_head(model, states, out.logits)
        before = place < (sizes - 1)[:, None]  # positions with a next token
        row = torch.arange(len(chunk), device=model.device)[:, None].expand_as(before)
        following = ids.roll(-1, dims=1)[:, :width]
        parts.append((
            real_end_states(states, place < prompts[:, None]).float(),
            states[before].float(), following[before], row[before] + start, (place >= prompts[:, None] - 1)[before],
        ))  # fmt: skip
    return Reading(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _sizes(chunk: Sequence[Instance]) -> list[tuple[int, int]]:
    """The numbers of tokens of each instance and of its prompt."""
    return [(len(i.prompt) + len(i.response), len(i.prompt)) for i in chunk]


def _check_head(model: PreTrainedModel, states: Tensor, logits: Tensor) -> None:
    head = model.get_output_embeddings()
    fits = head.in_features == states.shape[-1]  # some project their states first
    if not (fits and torch.allclose(head(states[:, -1]).float(), logits[:, -1].float(), rtol=1e-2, atol=1e-2)):
        raise ConfigError(
            f"model={type(model).__name__}: its logits are not its head applied to its last state (scaled or capped?); "
            "a second head cannot be added"
        )


def switch_examples(source: Reading, others: Reading) -> tuple[Float[Tensor, "N D"], Bool[Tensor, " N"]]:
    """The last states that a switch is trained on, and whether each is a source task's."""
    states = torch.cat([source.last, others.last])
    return states, torch.arange(len(states), device=states.device) < len(source.last)


def train_switch(
    states: Float[Tensor, "N D"], is_source: Bool[Tensor, " N"], config: SwitchConfig, generator: torch.Generator
) -> Switch:
    """Train a switch to distinguish the source tasks' last states from others' (mean cross-entropy, AdamW).

    Args:
        states: top states of last tokens.
        is_source: their labels.
        config: the settings.
        generator: draws the initial weights and the order, on the CPU.
    """
    switch = Switch(config.kind, states.shape[1]).initialize(generator).to(states.device)
    optimizer = torch.optim.AdamW(switch.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    labels = is_source.to(states.dtype)
    for _ in range(config.epochs):
        for batch in torch.randperm(len(states), generator=generator).split(config.batch_instances):
            rows = batch.to(states.device)
            loss = F.binary_cross_entropy_with_logits(switch(states[rows]).squeeze(-1), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return switch


def train_head(
    head: nn.Linear,
    source: Reading,
    config: SwitchConfig,
    generator: torch.Generator,
    validation: Reading | None = None,
) -> nn.Linear:
    """Train a new head on source instances, in place: cross-entropy of their next tokens, AdamW.

    With ``validation`` the head is that of the first epoch with the most correct validation responses (§4.2, "best
    average validation accuracy of updated source tasks"); without, that of the last epoch.
    """
    optimizer = torch.optim.AdamW(head.parameters(), config.head_learning_rate, weight_decay=config.weight_decay)
    counted = source.in_response | (config.loss_at == "sequence")
    best, best_state = -1.0, copy.deepcopy(head.state_dict())
    for _ in range(config.head_epochs):
        for batch in torch.randperm(len(source.last), generator=generator).split(config.batch_instances):
            rows = torch.isin(source.owner, batch.to(source.owner.device)) & counted
            loss = F.cross_entropy(head(source.states[rows]), source.targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if validation is not None and (accuracy := float(are_right(head, validation).float().mean())) > best:
            best, best_state = accuracy, copy.deepcopy(head.state_dict())
    if validation is not None:
        head.load_state_dict(best_state)
    return head


@torch.no_grad()
def are_right(head: nn.Linear, reading: Reading) -> Bool[Tensor, " N"]:
    """Whether every token of an instance's response is the head's most likely one."""
    chosen = reading.in_response
    wrong = reading.owner[chosen][head(reading.states[chosen]).argmax(-1) != reading.targets[chosen]]
    return ~torch.isin(torch.arange(len(reading.last), device=wrong.device), wrong)


@torch.no_grad()
def accuracy(model: PreTrainedModel, instances: Sequence[Instance], batch_instances: int = 64) -> float:
    """The fraction of instances whose first response token is the most likely one after the prompt."""
    model.eval()
    hits = []
    for start in range(0, len(instances), batch_instances):
        chunk = instances[start : start + batch_instances]
        ids = nn.utils.rnn.pad_sequence([torch.tensor(i.prompt) for i in chunk], batch_first=True).to(model.device)
        sizes = torch.tensor([len(i.prompt) for i in chunk], device=model.device)
        mask = torch.arange(ids.shape[1], device=model.device) < sizes[:, None]
        logits = real_end_states(model(ids, attention_mask=mask.long()).logits, mask)
        hits.append(logits.argmax(-1) == torch.tensor([i.response[0] for i in chunk], device=model.device))
    return float(torch.cat(hits).float().mean())


def align(
    model: PreTrainedModel,
    source: Sequence[Instance],
    others: Sequence[Instance],
    *,
    generator: torch.Generator,
    config: SwitchConfig | None = None,
    validation: Sequence[Instance] = (),
) -> AlignedModel:
    """Give ``model`` new responses to the prompts of some tasks without changing it for any other.

    Args:
        model: any causal language model of transformers with a linear head. It becomes part of the result, frozen; its
            weights are not changed.
        source: prompts of the tasks to change, with the desired responses.
        others: prompts of other tasks; "only one instance for each other task" (§4.2) is enough.
        generator: the source of all randomness, on the CPU.
        config: the settings, by default those of an MLP switch.
        validation: held-out source instances that choose the new head's epoch; without them the last epoch is used.

    Returns:
        A model that generates like any other, and is saved by ``save_pretrained`` as safetensors.

    Raises:
        ConfigError: there are no instances, a prompt or response is empty, or the model has adapters or a head that a
            second one cannot be added to.
    """
    config = config or SwitchConfig()
    _require_plain(model)
    for name, instances in (("source", source), ("validation", validation)):
        if not all(len(i.response) for i in instances):
            raise ConfigError(f"{name}: an instance has no response; give the desired tokens")
    model.requires_grad_(False)
    ours, theirs = read(model, source), read(model, others)
    head = copy_head(model).float()  # both are trained in float32, whatever the model's precision
    # before the switch, whose draws depend on its kind: so both kinds of switch get the same head
    train_head(head, ours, config, generator, read(model, validation) if validation else None)
    switch = train_switch(*switch_examples(ours, theirs), config, generator)
    return assemble(model, head, switch)


def _require_plain(model: PreTrainedModel) -> None:
    """Refuse a model with weights that its class does not have: they would be lost when it is saved and opened."""
    name = type(model).__name__
    fix = "merge its adapters first (merge_and_unload)"
    require(isinstance(model, PreTrainedModel), "model", name, f"not a plain transformers model; {fix}")
    with MAKING, torch.device("meta"):
        plain = type(model)._from_config(copy.deepcopy(model.config))  # noqa: SLF001 - works for any class
    other = set(plain.state_dict()) ^ set(model.state_dict())
    require(not other, "model", name, f"its class does not have all its weights, e.g. {min(other, default='')}; {fix}")


def assemble(model: PreTrainedModel, new_head: nn.Linear, switch: Switch) -> AlignedModel:
    """An aligned model from ``model`` and a trained head and switch, in the model's precision."""
    with MAKING:
        aligned = AlignedModel(AlignedConfig(model.config, "linear" if len(switch) == 1 else "mlp"), model)
    aligned.new_head, aligned.switch = new_head.to(model.dtype), switch.to(model.dtype)
    return aligned.eval()


AutoConfig.register(AlignedConfig.model_type, AlignedConfig)
AutoModelForCausalLM.register(AlignedConfig, AlignedModel)
