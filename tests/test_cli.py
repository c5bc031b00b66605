"""The command line: every command, and errors of one line."""

import errno
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import transformers as tf
from filelock import FileLock

from taskclust import exchange, smoke
from taskclust.data import generate
from taskclust.language import LanguageProbe
from tests.experiments.made import RECORDS
from tests.helpers import command, small_tokenizer


def test_a_data_set_is_written_with_every_identity(tmp_path, capsys):
    dataset = generate(smoke().base("synthetic").data, 3)

    assert command("data", tmp_path / "data.jsonl", "--scale", "smoke", "--seed", 3) == 0

    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text("utf-8").splitlines()]
    assert capsys.readouterr().out == f"{tmp_path / 'data.jsonl'}: {len(rows):,} instances\n"
    assert len(rows) == sum(split.n_instances for split in dataset.splits.values())
    for name, split in dataset.splits.items():
        part = [row for row in rows if row["split"] == name]
        for label in ("task", "distribution", "mapping", "distribution_mapping", "is_hard"):
            assert [row[label] for row in part] == split.labels(label).tolist()
        assert [row["tokens"][-2:] for row in part] == list(
            map(list, zip(split.inputs.ravel().tolist(), split.outputs.ravel().tolist(), strict=True))
        )


def test_instructions_match_their_stated_pattern(tmp_path):
    command("data", tmp_path / "data.jsonl", "--scale", "smoke")

    frame = pd.read_json(tmp_path / "data.jsonl", lines=True)
    plain = frame[~frame["is_hard"]]
    assert len(plain) > 500
    assert all(re.fullmatch(of, text) for text, of in zip(plain.instruction, plain.pattern, strict=True))
    outputs = frame.groupby(["task", "input"]).output.agg(set)  # a task is a function
    assert set(outputs.map(len)) == {1}


def test_settings_change_the_data(tmp_path):
    assert command("data", tmp_path / "a.jsonl", "--scale", "smoke", "--set", "n_mappings=2") == 0

    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert len({row["mapping"] for row in rows if row["task"] == 0}) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data", "a.csv"], r"file='a.csv': end its name in .jsonl or .parquet"),
        (["data", "nowhere/a.jsonl"], "file='nowhere/a.jsonl': its parent folder does not exist; create it first"),
        (["data", "there.jsonl"], "file='there.jsonl': it already exists; choose a new name"),
        (["data", "a.jsonl", "--scale", "tiny"], "scale='tiny': use paper or smoke"),
        (["data", "a.jsonl", "--seed", "-1"], "seed=-1: use 0 to 4,294,967,295"),
        (["data", "a.jsonl", "--set", "n_tasks=0"], "n_tasks=0: use 1 to 10,000"),
        (["probe", "nobody/nothing", "none.jsonl"], "prompts='none.jsonl': cannot be read as UTF-8"),
        (["probe", "nobody/nothing", "there.jsonl", "--untrained", "0"], "untrained=0: use 1 to 100"),
        (["probe", "no.gguf", "prompts.jsonl", "--to", "out"], "model='no.gguf': there is no such file"),
        (["probe", "nobody/nothing", "prompts.jsonl"], "model='nobody/nothing': cannot be opened as a causal language"),
        (["probe", "nobody/nothing", "prompts.jsonl", "--to", "there.jsonl"], "to='there.jsonl': it already exists"),
        (["records", "list", "nowhere"], "store='nowhere': not a store; name the folder .taskclust of a run"),
        (["records", "save", "nowhere", "out"], "store='nowhere': not a store"),
        (["table", "nowhere.md", "report"], "'nowhere.md': cannot be read as UTF-8"),
        (["silent-points", "there.jsonl"], "file='there.jsonl': the page would replace another file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_invalid_argument_gives_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.jsonl").write_text("mine")
    (tmp_path / "prompts.jsonl").write_text(json.dumps(dict.fromkeys(("instruction", "input", "output", "task"), "a")))

    ended = command(*words)

    assert isinstance(ended, str)
    assert ended.startswith(said)
    assert "\n" not in ended
    assert capsys.readouterr().out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"there.jsonl", "prompts.jsonl"}
    assert (tmp_path / "there.jsonl").read_text() == "mine"


@pytest.mark.filterwarnings("always:prompts=12")
def test_a_model_is_probed_and_written_as_a_page(tmp_path, capsys):
    tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=2, n_head=2)).save_pretrained(
        tmp_path / "mine"
    )
    small_tokenizer().save_pretrained(tmp_path / "mine")
    rows = [
        {"instruction": f"{verb} {letter}", "input": word, "output": word, "task": verb}
        for verb in ("k", "l")
        for letter in "ab"
        for word in ("m", "n", "o")
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--to", tmp_path / "out", "--set", "iterations=5", "--set", "tsne_restarts=1", "--untrained", 1]

    assert (
        command("probe", tmp_path / "mine", tmp_path / "prompts.jsonl", *words, "--template", "{instruction}: {input}")
        == 0
    )

    printed, warned = capsys.readouterr()
    few = [line for line in warned.splitlines() if "prompts=12" in line]
    assert few == [  # and no line of our source
        "warning: prompts=12: few for t-SNE of perplexity 10; give more, or set perplexity=2"
    ]
    assert "warnings.warn" not in warned
    assert "layer 2" in printed
    assert "null: bag of tokens" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "record.json", "layers.png", "clusters.png", "index.html"
    }  # fmt: skip
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "Does mine cluster prompts by task?" in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page


def test_what_was_found_is_written_though_the_terminal_cannot_show_it(tmp_path, monkeypatch):
    """A terminal of another encoding has no dash."""
    model = tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path / "mine")
    small_tokenizer().save_pretrained(tmp_path / "mine")
    rows = [{"instruction": f"{v} {x}", "input": w, "output": w, "task": v} for v in "kl" for x in "ab" for w in "mno"]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    quick = ["--set", "iterations=5", "--set", "tsne_restarts=1", "--set", "perplexity=2", "--untrained", "1"]
    monkeypatch.setattr(LanguageProbe, "__str__", lambda _: "–")  # Latin-1 has none
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))

    with pytest.raises(UnicodeEncodeError):
        command("probe", tmp_path / "mine", tmp_path / "prompts.jsonl", "--to", tmp_path / "out", *quick)

    assert (tmp_path / "out" / "record.json").exists()


def test_records_are_listed_and_checked(store, capsys):
    assert command("records", "list", store.root) == 0
    listed = capsys.readouterr().out
    assert all(kind in listed for kind in RECORDS)
    assert command("records", "check", store.root) == 0
    assert capsys.readouterr().out == f"{len(RECORDS)} records whole\n"

    (spoiled,) = (store.root / "pretraining").glob("[!.]*")
    (spoiled / "record.json").write_bytes((spoiled / "record.json").read_bytes()[:-1])
    assert command("records", "check", store.root) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"{len(RECORDS) - 1} records whole\npretraining record {spoiled.name}: record.json differs"
    )
    assert command("records", "check", store.root) == 0  # it is in quarantine now


def test_the_command_is_installed_and_helps_without_the_heavy_libraries():
    code = (
        "import sys\nfrom taskclust.cli import main\ntry: main(['--help'])\nfinally: print({'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "set()" in done.stdout
    for name in ("data", "probe", "compare", "table", "silent-points", "records"):
        assert f"\n  {name} " in done.stdout


# ---------------------------------------------------------------- what a breaker tried


def test_a_record_whose_recomputation_was_killed_is_still_listed(store, tmp_path, capsys):
    (folder,) = (store.root / "synthetic").glob("[!.]*")
    folder.rename(folder.with_name(f".{folder.name}.replaced"))

    assert command("records", "list", store.root) == 0
    assert folder.name in capsys.readouterr().out
    assert command("records", "save", store.root, tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == len(RECORDS)


def test_other_files_are_not_moved(store, capsys):
    (store.root / "synthetic" / "notes.txt").write_text("mine")

    assert command("records", "check", store.root) == 0
    assert capsys.readouterr().out == f"{len(RECORDS)} records whole\n"
    assert (store.root / "synthetic" / "notes.txt").read_text() == "mine"


def test_a_damaged_record_is_listed_and_left_out_of_what_is_saved(store, tmp_path, capsys):
    (folder,) = (store.root / "alignment").glob("[!.]*")
    (folder / "record.json").write_bytes(b"{")

    assert command("records", "list", store.root) == 0
    assert f"cannot be read ({folder / 'record.json'}: " in capsys.readouterr().out
    assert command("records", "save", store.root, tmp_path / "out") == 1
    assert f"alignment record {folder.name}: record.json differs from its sum" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == len(RECORDS) - 1


def test_a_locked_record_is_reported_without_waiting(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)
    exchange.save(store, tmp_path / "saved")
    (folder,) = (store.root / "alignment").glob("[!.]*")
    with FileLock(store.root / "locks" / f"alignment-{folder.name}.lock"):
        assert "another process is working on it" in command("records", "load", store.root, tmp_path / "saved")
        assert "another process is working on it" in command("records", "save", store.root, tmp_path / "out")
        assert command("records", "check", store.root) == 1
    assert f"alignment record {folder.name}: another process is working on it" in capsys.readouterr().out


def test_swapped_arguments_create_no_store(store, tmp_path):
    command("records", "save", store.root, tmp_path / "out")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())

    assert "it holds no record" in command("records", "load", tmp_path / "out", store.root)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_a_full_disk_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(_path, _content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    said = command("data", tmp_path / "data.jsonl", "--scale", "smoke")

    assert said == f"'{tmp_path / 'data.jsonl'}': No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["silent-points", "binary"], "file='binary': the page would replace another file"),
        (["table", "binary", "report"], "'binary': cannot be read as UTF-8"),
        (["probe", "m", "deep.jsonl"], "deep.jsonl:1: not JSON"),
        (["probe", "m", "half.jsonl"], 'half.jsonl:1: "input" holds half of a character'),
        (["probe", "m", "good.jsonl", "--threads", "99999999999"], "threads=99999999999: use 1 to 1,024"),
        (["probe", "m", "good.jsonl", "--device", "tpu"], "device='tpu': use cpu or cuda"),
        (
            ["probe", "m", "good.jsonl", "--template", "{instruction} {input} {input}"],
            "template='{instruction} {input}",
        ),
        (["data", "a.jsonl", "--set", "foo"], "set='foo': write FIELD=VALUE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_former_tracebacks_are_one_line(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    row = dict.fromkeys(("instruction", "input", "output", "task"), "a")
    Path("binary").write_bytes(b"\xff\xfe")
    Path("deep.jsonl").write_text("[" * 200_000)
    Path("good.jsonl").write_text(json.dumps(row))
    Path("half.jsonl").write_text(json.dumps({**row, "input": "\ud800"}))

    ended = command(*words)

    assert isinstance(ended, str)
    assert ended.startswith(said)
