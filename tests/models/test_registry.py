"""An option is one field, an architecture one file and one entry; older saved folders still open."""

import dataclasses
import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.modeling_outputs import CausalLMOutput

from taskclust.config import ConfigError, DataConfig, ModelConfig, ProbeConfig, SwitchConfig, added, as_before
from taskclust.experiments.synthetic.probing import probe_checkpoint
from taskclust.models import Trainer, create, open_checkpoint
from taskclust.models.alignment import align, instances_of
from taskclust.models.decoder import Decoder, DecoderConfig
from taskclust.models.interface import Dropout, Model, Settings
from taskclust.models.outside import outside_model
from taskclust.models.registry import ARCHITECTURES, architecture, count_parameters
from taskclust.probes.hidden import hidden_states
from taskclust.runner import Runner
from taskclust.store.folders import Store
from tests.helpers import assert_close, tiny_data

SIZES = {"width": 16, "feed_forward": 32, "layers": 2, "heads": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same_weights(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("use", [
    lambda model: create(tiny_data(), model, generator()),
    lambda model: count_parameters(tiny_data(), model),
    lambda model: architecture(model.architecture),
], ids=["create", "count", "look-up"])  # fmt: skip
def test_an_unknown_architecture_is_refused_with_the_known_ones(use):
    with pytest.raises(ConfigError, match=rf"^architecture='unheard of': use one of {', '.join(ARCHITECTURES)}$"):
        use(ModelConfig(architecture="unheard of"))


def test_an_unknown_architecture_is_refused_before_anything_is_computed(experiment, tmp_path):
    config = experiment(model={"architecture": "unheard of"})

    with pytest.raises(ConfigError, match=r"^architecture='unheard of'"):
        Runner(Store(tmp_path)).record("synthetic", config)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_models_are_drawn_and_counted_as_by_their_class():
    model = ModelConfig(**SIZES)

    made = create(tiny_data(), model, generator(3))

    assert type(made) is Decoder
    assert same_weights(made, Decoder.create(tiny_data(), model, generator(3)))
    assert count_parameters(tiny_data(), model) == made.num_parameters()


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_model_opens_as_its_own_class_and_the_same(name, tmp_path):
    config = ModelConfig(**SIZES, architecture=name)
    if name == "outside":
        config = outside_model("llama", config, tiny_data())
    model = create(tiny_data(), config, generator()).eval()
    model.save_pretrained(tmp_path)

    found = open_checkpoint(tmp_path).eval()

    assert type(found) is type(model) is ARCHITECTURES[name]
    assert same_weights(found, model)
    ids = torch.arange(10)[None]
    assert torch.equal(found(ids).logits, model(ids).logits)


def test_models_made_in_threads_have_their_weights_tied(tmp_path):
    model = create(tiny_data(), ModelConfig(**SIZES), generator())
    assert model.config.tie_word_embeddings
    model.save_pretrained(tmp_path)

    def made(_):
        return open_checkpoint(tmp_path), create(tiny_data(), ModelConfig(**SIZES), generator())

    with ThreadPoolExecutor(8) as pool:
        found = [one for pair in pool.map(made, range(64)) for one in pair]

    assert all(one.get_output_embeddings().weight is one.get_input_embeddings().weight for one in found)
    assert all(same_weights(one, model) for one in found)


def test_a_folder_of_another_model_is_refused(tmp_path):
    GPT2Config().save_pretrained(tmp_path)

    with pytest.raises(ConfigError, match=r"^model_type='gpt2': .*taskclust-decoder"):
        open_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"^folder='.*nowhere': it holds no model"):
        open_checkpoint(f"{tmp_path}/nowhere")


#: config.json as it was written before there was a registry.
OF_BEFORE = {
    "architectures": ["Decoder"],
    "dropout": 0.1,
    "dropout_at": ["embedding", "branch"],
    "dtype": "float32",
    "feed_forward": 32,
    "head_std": 0.3,
    "heads": 2,
    "layers": 2,
    "max_positions": 12,
    "model_type": "taskclust-decoder",
    "norm": "before",
    "positions": "learned",
    "scale_residual": True,
    "scale_tokens": False,
    "tie_word_embeddings": True,
    "token_std": 0.4,
    "transformers_version": "5.24.0",
    "vocab_size": 23,
    "weight_std": 0.05,
    "width": 16,
}


@pytest.mark.parametrize("opened", [open_checkpoint, AutoModelForCausalLM.from_pretrained], ids=["ours", "auto"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_an_older_folder_opens_unchanged(tied, opened, tmp_path):
    said = {**OF_BEFORE, "tie_word_embeddings": tied}
    weights = Decoder(DecoderConfig(**said)).initialize(generator(1)).state_dict()
    saved = {name: weight.clone() for name, weight in weights.items() if not (tied and name == "head.weight")}
    save_file(saved, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(said))

    model = opened(tmp_path)

    assert type(model) is Decoder
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for name in said.keys() - {"transformers_version", "architectures", "dtype"}:
        assert getattr(model.config, name) == said[name], name
    assert (model.head.weight is model.token_embedding.weight) is tied


def test_a_folder_is_written_as_before(tmp_path):
    DecoderConfig(**OF_BEFORE).save_pretrained(tmp_path)

    written = json.loads((tmp_path / "config.json").read_text())

    assert written | OF_BEFORE == written | {"transformers_version": OF_BEFORE["transformers_version"]}
    assert written.keys() - OF_BEFORE.keys() <= {field.name for field in dataclasses.fields(ModelConfig)}


# ---------------------------------------------------------------- options


def test_settings_are_the_fields_of_the_model_configuration():
    model = ModelConfig(**SIZES, dropout=0.3, tied_head=True, norm="before", weight_std=0.7)

    settings = DecoderConfig.of(tiny_data(), model)

    for field in dataclasses.fields(ModelConfig):
        if field.name != "architecture":  # the model_type says it
            value = getattr(model, field.name)
            assert getattr(settings, field.name) == (list(value) if isinstance(value, tuple) else value), field.name
    assert settings.tie_word_embeddings
    assert not hasattr(settings, "architecture")


def test_missing_settings_are_the_papers():
    assert DecoderConfig().to_dict() == DecoderConfig.of(DataConfig(), ModelConfig()).to_dict()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GrownConfig(ModelConfig):
    """A configuration with one more option, whose default has changed since it was added."""

    sharpness: float = dataclasses.field(default=2.0, metadata=added(1.0).metadata)


def test_a_new_option_reaches_the_settings_and_the_reopened_checkpoint(tmp_path):
    model = create(tiny_data(), GrownConfig(**SIZES, sharpness=3.5), generator())
    model.save_pretrained(tmp_path)

    assert model.config.sharpness == 3.5
    assert open_checkpoint(tmp_path).config.sharpness == 3.5
    assert json.loads((tmp_path / "config.json").read_text())["sharpness"] == 3.5


def test_a_file_without_an_option_means_the_neutral_value_whatever_the_default_is_now(monkeypatch):
    monkeypatch.setattr("taskclust.models.interface.ModelConfig", GrownConfig)

    assert DecoderConfig(**OF_BEFORE).sharpness == as_before(GrownConfig)["sharpness"] == 1.0
    assert DecoderConfig.of(tiny_data(), GrownConfig(**SIZES)).sharpness == 2.0


# ---------------------------------------------------------------- a second architecture


class AverageSettings(Settings):
    model_type = "taskclust-average"


class Average(Model):
    """A minimal architecture: each layer adds a linear map of the mean of the visible tokens."""

    config_class = AverageSettings

    def __init__(self, config):
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.layers))
        self.dropout = Dropout.at("branch", config)
        self.final_norm = nn.LayerNorm(config.width)
        self.unembed = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def initialize(self, generator):
        for name, parameter in self.named_parameters():
            std = 1 / math.sqrt(self.config.width)
            drawn = torch.randn(parameter.shape, generator=generator) * std
            with torch.no_grad():
                parameter.copy_(torch.ones(parameter.shape) if name == "final_norm.weight" else drawn)
        return self

    def forward(self, input_ids, attention_mask=None, position_ids=None, output_hidden_states=False, select=None, **_):  # noqa: ARG002
        T = input_ids.shape[1]
        seen = torch.ones(T, T, dtype=torch.bool, device=input_ids.device).tril()[None]
        if attention_mask is not None:
            whole = attention_mask.dim() == 4
            seen = attention_mask[:, 0] if whole else seen & attention_mask.bool()[:, None, :]
        weights = seen.to(self.dtype)
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
        states = [self.tokens(input_ids)]
        for layer in self.layers:
            x = states[-1]
            states.append(x + self.dropout(torch.tanh(layer(weights @ x))))
        x = states[-1] = self.final_norm(states[-1])
        logits = self.unembed(x if select is None else x.flatten(0, 1)[select])
        return CausalLMOutput(logits=logits, hidden_states=tuple(states) if output_hidden_states else None)

    def get_input_embeddings(self):
        return self.tokens

    def get_output_embeddings(self):
        return self.unembed

    def set_output_embeddings(self, head):
        self.unembed = head


@pytest.fixture
def average(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "average", Average)  # the one entry


@pytest.fixture(scope="module")
def trained(experiment, dataset):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "average", Average)
        trainer = Trainer(experiment(model={"architecture": "average"}, learning_rate=1e-2), dataset)
    trainer.run_epoch()
    trainer.run_epoch()
    return trainer


def test_another_architecture_trains(trained):
    assert type(trained.model) is Average
    first, second = (row["loss"] for row in trained.history[1:])
    assert second < first


def test_another_architecture_trains_the_same_again(trained, experiment, dataset, average):  # noqa: ARG001
    again = Trainer(experiment(model={"architecture": "average"}, learning_rate=1e-2), dataset)

    again.run_epoch()
    again.run_epoch()

    assert again.history[1:] == trained.history[1:]
    assert same_weights(again.model, trained.model)


def test_another_architecture_is_saved_probed_and_scored(trained, dataset, average, tmp_path):  # noqa: ARG001
    trained.save_checkpoint(tmp_path)

    model = open_checkpoint(tmp_path)
    states = hidden_states(model, dataset.validation)
    before = hidden_states(model, dataset.validation, before_final_norm=True)
    row = probe_checkpoint(model, dataset, ProbeConfig(kmeans_restarts=2, neighbors=3), with_tsne=False)

    assert type(model) is Average
    assert states.input_token.shape == (3, dataset.validation.n_instances, 16)
    assert_close(model.final_norm(before.input_token[-1]), states.input_token[-1], atol=1e-5)
    assert len(row.scores["validation"].raw["task"]["f1"]) == 3


def test_another_architecture_is_aligned(trained, dataset):
    source, others = instances_of(dataset.subset), instances_of(dataset.validation)
    quick = SwitchConfig(kind="linear", epochs=1, head_epochs=1)

    aligned = align(trained.model, source, others, generator=generator(), config=quick)

    assert aligned.new_head.weight.shape == trained.model.unembed.weight.shape


@pytest.mark.parametrize("missing", ["initialize", "forward", "get_output_embeddings"])
def test_an_architecture_without_a_part_cannot_be_made(missing):
    lacking = type("Lacking", (Average,), {missing: getattr(Model, missing)})

    with pytest.raises(TypeError, match=missing):
        lacking(AverageSettings(**SIZES))


def test_only_the_registry_names_an_architecture():
    root = Path(__file__).parents[2]
    names = "|".join(rf"\b{kind.__name__}\b" for kind in ARCHITECTURES.values())
    allowed = {f"{kind.__module__.replace('.', '/')}.py" for kind in ARCHITECTURES.values()}

    found = {
        str(path.relative_to(root))
        for folder in ("taskclust", "studies", "benchmarks")
        for path in (root / folder).rglob("*.py")
        if re.search(names, path.read_text())
    }

    assert found == allowed | {"taskclust/models/registry.py"}
