"""A language model's record is found again by its weights, whatever its name, and has its negative controls."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import transformers as tf
from transformers.utils import cached_file

from taskclust.config import ConfigError, LanguageConfig, ProbeConfig
from taskclust.data.natural import Prompt
from taskclust.experiments.natural_language import run as R
from taskclust.experiments.natural_language.record import Architecture, Record, upgrade
from taskclust.models.language import LanguageModel, last_states, tokenize, untrained_model
from taskclust.probes.prompts import probe_layer
from taskclust.runner import Runner
from taskclust.store import Store, decode, encode
from tests.helpers import assert_close, small_tokenizer

QUICK = LanguageConfig(
    n_expressions=2,
    n_pairs=3,
    untrained=2,
    probe=ProbeConfig(perplexity=3.0, iterations=20, tsne_restarts=1, kmeans_restarts=1),
    resamples=5,
)
PROMPTS = [
    Prompt(f"name {letter} {verb}", word, word, task, f"{task} {'a' if letter in 'ab' else letter}")
    for task, verb in (("sing", "k"), ("dance", "l"))
    for letter in "abc"
    for word in ("m", "n", "ob")
]


def gpt2(seed=7, vocabulary=64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return tf.GPT2LMHeadModel(
            tf.GPT2Config(vocab_size=vocabulary, n_positions=64, n_embd=16, n_layer=2, n_head=2)
        ).eval()


@pytest.fixture
def folder(tmp_path):
    gpt2().save_pretrained(tmp_path / "own")
    small_tokenizer().save_pretrained(tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path / "store"))


def test_record_has_the_model_its_nulls_and_how_it_was_read():
    record = R.probe_prompts(LanguageModel(gpt2(), small_tokenizer()), PROMPTS, QUICK)

    assert record.prompts == len(PROMPTS) == len(record.model.embedding)
    parts = (record.model, *record.untrained, record.bag)
    assert [part.scores["raw"]["task"]["f1"].shape for part in parts] == [(3,), (3,), (3,), (1,)]
    assert [part.divergence.shape for part in parts] == [(3, 1), (3, 1), (3, 1), (1, 1)]
    assert record.split_words == pytest.approx(1 / 3)
    assert record.reading.way == "instructions once"
    assert 0 <= record.reading.largest_relative_difference < 1e-5
    assert record.architecture == Architecture(
        class_name="GPT2LMHeadModel",
        model_type="gpt2",
        parameters=gpt2().num_parameters(),
        layers=2,
        width=16,
        dtype="float32",
    )
    assert record.names["task"] == ["sing", "dance"]
    assert record.config == QUICK
    assert record.provenance["threads"] == torch.get_num_threads()
    assert encode(decode(encode(record), Record, upgrade)) == encode(record)


def test_untrained_models_differ_from_the_model_each_other_and_by_seed():
    language = LanguageModel(gpt2(), small_tokenizer())
    bare = LanguageModel(gpt2(seed=5), small_tokenizer())

    record, other = (R.probe_prompts(one, PROMPTS, QUICK) for one in (language, bare))
    reseeded = R.probe_prompts(language, PROMPTS, replace(QUICK, seed=1))

    drawn = [part.divergence.tolist() for one in (record, reseeded) for part in one.untrained]
    drawn.append(record.model.divergence.tolist())
    assert len({str(divergence) for divergence in drawn}) == len(drawn) == 5
    assert other.model.divergence.tolist() != record.model.divergence.tolist()
    assert encode(other.untrained) == encode(record.untrained)
    assert encode(other.bag) == encode(record.bag)


def test_untrained_models_are_read_at_every_layer():
    record = R.probe_prompts(LanguageModel(gpt2(), small_tokenizer()), PROMPTS, QUICK)

    assert [part.layers for part in record.untrained] == [record.model.layers] * 2 == [[0, 1, 2]] * 2


def test_a_model_is_probed_once_wherever_it_is(runner, folder, tmp_path, monkeypatch):
    config = replace(QUICK, source=str(folder))
    shutil.copytree(folder, tmp_path / "moved")
    first = runner.record("natural_language", config)
    monkeypatch.setattr(R, "probe_prompts", lambda *_, **__: pytest.fail("probed again"))

    again = runner.record("natural_language", replace(QUICK, source=str(tmp_path / "moved")))

    assert first.name == R.label(config) == "own"
    assert again.name == "moved"
    assert again.config.source == str(tmp_path / "moved")
    assert encode(again.model) == encode(first.model)


def test_other_weights_are_another_record(folder):
    before = R.fingerprint(str(folder))
    gpt2(seed=1).save_pretrained(folder)

    assert R.fingerprint(str(folder)) != before


@pytest.mark.parametrize("source", ["nobody/nothing", "no/such/model.gguf"])
def test_a_missing_model_is_one_clear_error(runner, monkeypatch, source):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(ConfigError, match=rf"^llm='{source}': "):
        runner.record("natural_language", LanguageConfig(source=source))


def test_a_gguf_file_is_converted_once(runner, tmp_path, monkeypatch):
    made = []
    file = tmp_path / "model.Q4_1.gguf"
    file.write_bytes(b"weights")
    monkeypatch.setattr(
        R, "convert_gguf", lambda path, folder: made.append(path) or (folder / "config.json").write_text("{}")
    )

    places = {R.locate(str(file), runner.store)[0] for _ in range(2)}

    assert len(places) == len(made) == 1
    assert R.short_name(str(file)) == "model"


@pytest.mark.parametrize(("source", "name"), [(".", "here"), ("..", "above"), ("a/b", "b"), ("x/../y/", "y")])
def test_a_folder_is_named_by_where_it_is(tmp_path, monkeypatch, source, name):
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")

    assert R.short_name(source) == name


def test_a_model_that_ignores_its_cache_is_read_prompt_by_prompt(monkeypatch):
    torch.manual_seed(0)
    model = tf.OpenAIGPTLMHeadModel(tf.OpenAIGPTConfig(vocab_size=64, n_positions=64, n_embd=16, n_layer=2, n_head=2))
    language, probed = LanguageModel(model.eval(), small_tokenizer()), []
    tokens = tokenize(language, [prompt.text for prompt in PROMPTS])
    with untrained_model(model, 0) as untrained:
        expected = torch.cat([last_states(one, tokens, None, 1) for one in (model, untrained)])
    monkeypatch.setattr(
        R, "probe_layer", lambda states, *rest, **kwargs: probed.append(states) or probe_layer(states, *rest, **kwargs)
    )

    with pytest.warns(UserWarning, match="states differ by .* from those of instructions once"):
        found = R.probe_prompts(language, PROMPTS, QUICK)

    assert found.reading.way == "prompts whole"
    assert_close(torch.stack(probed[: len(expected)]), expected, rtol=1e-4, atol=1e-5)


def test_a_stopped_run_continues_from_its_finished_layers(monkeypatch, tmp_path):
    language, probed = LanguageModel(gpt2(), small_tokenizer()), []

    def stop_at_second(*args, **kwargs):
        probed.append(kwargs["seed"])
        if len(probed) == 2:
            raise KeyboardInterrupt
        return probe_layer(*args, **kwargs)

    monkeypatch.setattr(R, "probe_layer", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        R.probe_prompts(language, PROMPTS, QUICK, keep=tmp_path / "kept")
    resumed = R.probe_prompts(language, PROMPTS, QUICK, keep=tmp_path / "kept")
    whole = R.probe_prompts(language, PROMPTS, QUICK)

    assert probed[:3] == [0, 1, 1]
    assert encode(resumed.model) == encode(whole.model)
    assert encode(resumed.untrained) == encode(whole.untrained)
    assert encode(resumed.bag) == encode(whole.bag)


@pytest.mark.parametrize("spoil", ["digit", "truncated", "empty", "zeros", "another layer's", "without a sum"])
def test_a_kept_layer_that_changed_is_probed_again(monkeypatch, tmp_path, spoil):
    language, kept, probed = LanguageModel(gpt2(), small_tokenizer()), tmp_path / "kept", []
    whole = R.probe_prompts(language, PROMPTS, QUICK, keep=kept)
    file, content = kept / "model-layer-1.json", (kept / "model-layer-1.json").read_bytes()
    at = content.index(b"0.") + 2
    file.write_bytes(
        {
            "digit": content[:at] + bytes([48 + (content[at] - 48 + 5) % 10]) + content[at + 1 :],
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "zeros": bytes(len(content)),
            "another layer's": (kept / "model-layer-0.json").read_bytes(),
            "without a sum": content.partition(b"\n")[2],
        }[spoil]
    )
    monkeypatch.setattr(
        R, "probe_layer", lambda *args, **kwargs: probed.append(kwargs["seed"]) or probe_layer(*args, **kwargs)
    )

    again = R.probe_prompts(language, PROMPTS, QUICK, keep=kept)

    assert probed == [1]
    assert encode(again.model) == encode(whole.model)
    assert file.read_bytes() == content


def test_a_record_knows_its_own_key(runner, folder):
    config = replace(QUICK, source=str(folder), n_expressions=2, n_pairs=2)

    record = runner.record("natural_language", config)

    assert R.recorded_key(record) == R.key(config, runner)
    assert R.recorded_key(R.probe_prompts(LanguageModel(gpt2(), small_tokenizer()), PROMPTS, QUICK)) is None


def test_two_tasks_may_have_distributions_of_one_name():
    shared = [replace(p, distribution=p.distribution.split()[1]) for p in PROMPTS]

    record = R.probe_prompts(LanguageModel(gpt2(), small_tokenizer()), shared, QUICK)

    assert record.names["distribution"] == ["a", "c", "a", "c"]
    assert record.identities["distribution"].max() == 3


def test_a_hub_id_in_the_cache_is_known_by_its_commit(tmp_path, monkeypatch):
    folder = tmp_path / "models--some--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abcd")
    (folder / "snapshots" / "0123abcd").mkdir(parents=True)
    (folder / "snapshots" / "0123abcd" / "config.json").write_text("{}")
    monkeypatch.setattr(R, "cached_file", partial(cached_file, cache_dir=tmp_path, local_files_only=True))

    assert R.fingerprint("some/model") == "some/model@0123abcd"


def test_each_layers_scores_are_means_over_starts():
    several = replace(QUICK, probe=replace(QUICK.probe, tsne_restarts=3))

    found = R.probe_prompts(LanguageModel(gpt2(), small_tokenizer()), PROMPTS, several).model

    assert found.divergence.shape == (3, 3)
    for label, table in found.starts.items():
        for metric, values in table.items():
            assert values.shape == (3, 3)
            np.testing.assert_allclose(found.scores["tsne"][label][metric], values.mean(axis=1), atol=1e-4)
