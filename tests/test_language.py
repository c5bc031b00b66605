"""The entry point for your own model gives a record that can be printed, saved and plotted."""

import errno
from pathlib import Path

import pytest
import torch
import transformers as tf

from taskclust import language
from taskclust.config import ConfigError, ProbeConfig
from taskclust.experiments.natural_language.record import Record, upgrade
from taskclust.experiments.natural_language.tables import layer_rows
from taskclust.language import Prompt, probe
from taskclust.store import decode, encode
from tests.helpers import small_tokenizer

QUICK = {"probe": ProbeConfig(perplexity=3.0, iterations=20, tsne_restarts=1, kmeans_restarts=1), "resamples": 5}
PROMPTS = [
    Prompt(f"name {letter} {verb}", word, word, task, f"{task} {letter in 'ab'}")
    for task, verb in (("sing", "k"), ("dance", "l"))
    for letter in "abc"
    for word in ("m", "n")
]


def model_of(kind=tf.GPT2LMHeadModel, config=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config or tf.GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=2, n_head=2))


@pytest.fixture(scope="module")
def found():
    return probe(model_of(), small_tokenizer(), PROMPTS, name="mine", **QUICK)


@pytest.mark.parametrize(("most", "starts"), [(len(PROMPTS), 10), (len(PROMPTS) - 1, 1)], ids=["few", "many"])
def test_few_prompts_have_ten_starts_of_tsne_by_default_and_many_have_one(monkeypatch, most, starts):
    given = []
    monkeypatch.setattr(language, "EXACT_POINTS", most)
    monkeypatch.setattr(language, "probe_prompts", lambda *args, **_: given.append(args))

    probe(model_of(), small_tokenizer(), PROMPTS)

    assert given[0][2].probe.tsne_restarts == starts


def test_it_prints_one_row_per_layer_and_negative_control(found):
    tables = str(found).split("\n\n")

    assert tables[::2] == ["states:", "after t-SNE:"]
    for table in tables[1::2]:
        of = [line.split("  ")[0] for line in table.splitlines()[3:]]
        assert of[:3] == ["layer 0", "layer 1", "layer 2"]
        assert [name.partition(", ")[2] for name in of[3:6]] == [f"null: untrained, draw {n}" for n in (1, 2, 3)]
        assert of[6:] == ["null: bag of tokens"]


def test_what_is_printed_fits_a_terminal(found):
    shown = str(found)
    rows = layer_rows(found.record)

    assert max(map(len, shown.splitlines())) <= 100
    assert "distribution-mapping ARI" in rows[0]  # the page has all
    for line, row in zip(shown.splitlines()[5:], rows[:7], strict=False):
        assert line.split()[-5:] == [row[f"task {metric}"] for metric in ("F1", "ARI", "AMI")] + [
            row["distribution F1"], row["distribution-mapping F1"]
        ]  # fmt: skip


def test_it_saves_what_it_measured(found, tmp_path):
    found.save(tmp_path / "found.json")

    read = decode((tmp_path / "found.json").read_bytes(), Record, upgrade)
    assert encode(read) == encode(found.record)
    assert found.record.name == read.name == "mine"


def test_a_full_disk_error_names_the_file_and_leaves_no_partial_file(found, tmp_path, monkeypatch):
    def full(_path, _content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(OSError, match="No space left") as caught:
        found.write(tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out" / "record.json")
    assert list((tmp_path / "out").iterdir()) == []


def test_it_plots_layers_and_clusters(found, tmp_path):
    files = found.plot(tmp_path / "new" / "folder")

    assert [file.name for file in files] == ["layers.png", "clusters.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_the_model_is_left_as_it_was():
    model = model_of().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    probe(model, small_tokenizer(), PROMPTS, **QUICK)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training


@pytest.mark.filterwarnings("ignore")
def test_few_prompts_for_the_perplexity_give_a_warning():
    with pytest.warns(UserWarning, match=r"^prompts=12: few for t-SNE of perplexity 10; .*perplexity=2$"):
        probe(model_of(), small_tokenizer(), PROMPTS, probe=ProbeConfig(iterations=5, tsne_restarts=1), resamples=2)


def test_threads_are_set_while_it_runs_and_not_after(monkeypatch):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(language, "probe_prompts", lambda *_args, **_: seen.append(torch.get_num_threads()))

    probe(model_of(), small_tokenizer(), PROMPTS, threads=before + 1, **QUICK)

    assert seen == [before + 1]
    assert torch.get_num_threads() == before
    with pytest.raises(ConfigError, match=r"^threads=0: use 1 to 1,024"):
        probe(model_of(), small_tokenizer(), PROMPTS, threads=0, **QUICK)


def test_an_encoder_is_refused():
    config = tf.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )

    with pytest.raises(ConfigError, match="model='model': its states look ahead"):
        probe(model_of(tf.BertLMHeadModel, config), small_tokenizer(), PROMPTS, **QUICK)


def test_what_is_no_plain_transformers_model_is_refused_before_it_is_read():
    """As a model with adapters, or a compiled one."""
    with pytest.raises(ConfigError, match=r"^model='Sequential': .* merge adapters first .* do not compile it"):
        probe(torch.nn.Sequential(model_of()), small_tokenizer(), PROMPTS, **QUICK)


def test_prompts_of_one_task_are_refused():
    with pytest.raises(ConfigError, match="clustering needs prompts of two tasks"):
        probe(model_of(), small_tokenizer(), PROMPTS[:6], **QUICK)
