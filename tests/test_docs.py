"""README is short, links lead somewhere, and every block of code is run, or says why not."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from studies.numbers import plain
from tests.experiments.made import RECORDS
from tests.helpers import command, small_tokenizer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "own_claim" / "README.md"]


def broken_links(page, text):
    """Broken relative links of a page, except links to report pages and silent points, which commands make."""
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", text)
    made = ("index.html", "silent-points.md")
    return [to for to in targets if not to.endswith(made) and not (page.parent / to).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page, page.read_text("utf-8")) == []


def test_a_planted_link_to_nowhere_is_found():
    assert broken_links(ROOT / "README.md", "[a](docs/rounding.md) [b](docs/nowhere.md#x) [c](https://x)") == [
        "docs/nowhere.md"
    ]


def test_readme_is_read_in_two_minutes():
    text = plain((ROOT / "README.md").read_text("utf-8"))
    prose = FENCED.sub("", re.sub(r"^\|.*\n", "", text, flags=re.MULTILINE))

    assert len(prose.split()) < 500
    assert max(map(len, text.splitlines())) <= 100
    assert all(page.read_text("utf-8").startswith("# ") for page in PAGES)


class Block(NamedTuple):
    """A fenced block of a page."""

    place: str
    language: str
    text: str
    why_not_run: str | None

    def __str__(self):
        return self.place


#: A fence with its language, and the comment before it that says why the block is not run.
FENCED = re.compile(r"(?:^<!-- not run: ([^\n]*?) -->\n)?^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Languages that are not run.
SHOWN = {"bibtex", "json", "text", "toml"}


def blocks(name, text):
    """The blocks of a page in their order."""
    return [
        Block(f"{name}-line-{text.count(chr(10), 0, found.start(2)) + 1}", found[2], found[3], found[1])
        for found in FENCED.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks(page.relative_to(ROOT).as_posix(), page.read_text("utf-8"))]


def of(language, *, is_run):
    return [block for block in BLOCKS if block.language == language and (block.why_not_run is None) == is_run]


def commands(text):
    """The commands of a shell block, as words, without comments."""
    lines = [" ".join(shlex.split(line, comments=True, posix=False)) for line in text.splitlines()]
    return [shlex.split(part) for line in lines for part in line.split(" && ") if part]


def test_every_block_has_a_language_and_a_reason_not_to_be_run_is_given():
    assert {block.language for block in BLOCKS} <= {"python", "sh", *SHOWN}
    assert len(of("python", is_run=True)) >= 7
    assert of("python", is_run=False) == []  # they all run, with small replacements
    assert [str(block) for block in BLOCKS if block.why_not_run is not None and len(block.why_not_run) < 10] == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder like a checkout, with a tiny model under a hub's name, its prompts, and a checkpoint of ours."""
    import torch
    import transformers as tf

    from taskclust import ModelConfig, create, smoke

    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name not in (".taskclust", ".git"):
            (folder / path.name).symlink_to(path)
    name = folder / "HuggingFaceTB" / "SmolLM2-135M"
    config = tf.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    tf.LlamaForCausalLM(config).save_pretrained(name)
    small_tokenizer().save_pretrained(name)
    rows = [
        {"instruction": f"{verb} {letter}", "input": word, "output": word, "task": verb}
        for verb in "kl"
        for letter in "abcdef"
        for word in "mnopqr"
    ]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = smoke().base("synthetic").data
    model = create(data, ModelConfig.norm_after(32), torch.Generator().manual_seed(0))
    model.save_pretrained(folder / ".taskclust" / "trajectory" / "<key>" / "checkpoints" / "0080")
    yield folder
    if server.cache_info().currsize:
        server(folder).communicate()


def decided_on(record):
    """A replacement for pytest's fixture ``decide`` that uses a given record for six seeds."""
    from taskclust import judge

    records = [replace(record, config=replace(record.config, seed=seed)) for seed in range(6)]
    return lambda claim, cell: judge(claim, cell, records, "smoke")


@pytest.mark.parametrize("block", of("python", is_run=True), ids=str)
def test_a_block_of_python_runs(block, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    names = {"__name__": "__main__"}

    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102 - a page's own code

    tests = [value for name, value in names.items() if name.startswith("test_")]
    for test in tests:  # a claim: it is judged as pytest would, on a made record instead of a trained one
        for cell in names["CLAIM"].cells:
            test(cell, decided_on(RECORDS[names["CLAIM"].experiment]))


def environment():
    """Variables with which a process finds this Python's commands and our modules."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # it is no xdist worker
    return {**own, "PATH": path, "PYTHONPATH": str(ROOT), "CI": "true"}


def ran(words, folder):
    """A finished process of these words, run in ``folder``."""
    return subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def ran_there(words, folder):
    """The exit code, words and output of "python -m", run by the server in ``folder``."""
    process = server(folder)
    process.stdin.write(f"{json.dumps(words)}\n")
    return json.loads(process.stdout.readline())


def fault_of_install(words):
    """The faults of a "pip install": missing files and unknown extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(re.findall(r"\.\[([a-z,]+)\]", " ".join(words)))
    missing = {name for extra in extras for name in extra.split(",")} - set(project["optional-dependencies"])
    files = [words[n + 1] for n, word in enumerate(words) if word in ("-c", "-r") and n + 1 < len(words)]
    return [*missing, *(file for file in files if not (ROOT / file).is_file())]


def fault_of_tox(words):
    """Environments that tox.ini does not have."""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    known = set(re.findall(r"[\w-]+", " ".join(config.sections())))
    return [name for name in words[words.index("-e") + 1].split(",") if name not in known]


#: Runs "python -m" with each line's words and prints one line per result; one process loads the libraries once.
MODULES = """
import contextlib, io, json, runpy, sys, traceback
for line in sys.stdin:
    module, *sys.argv[1:] = words = json.loads(line)
    code, said = 0, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as stopped:
            code = stopped.code or 0
        except Exception:
            code = traceback.format_exc()
    print(json.dumps([code, words, said.getvalue()[-1000:]]), flush=True)
"""


@cache
def server(folder):
    """A process that runs :data:`MODULES` in ``folder`` until these tests end."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", MODULES], cwd=folder, env=environment(), bufsize=1, **options)


def quick(words):
    """The same options for one claim, and for the one small model that is available."""
    claim = f"benchmarks/test_{'open_llm_clusters' if 'llm' in words else 'parameter_counts'}.py"
    left_out = {part for n, word in enumerate(words) if word == "--llm" for part in (n, n + 1)}
    kept = [word for n, word in enumerate(words) if n not in left_out and word != "--pyargs"]
    here = ["--slurm", "cluster=local"] if "slurm" in words else []  # an available cluster
    here += ["--llm", "HuggingFaceTB/SmolLM2-135M"] if "llm" in words else []
    return [*(claim if word in ("benchmarks", "taskclust.benchmarks") else word for word in kept), *here]


def faults_of_pytest(lists, folder):
    """The errors of pytest for these options, with one claim instead of all."""
    here = ["--device=cpu", "--collect-only", "-q"]  # there may be no GPU
    asked = [["pytest", *quick(words), *here] for words in lists]
    ended = [ran_there(words, folder) for words in asked]
    return [one for one in ended if one[0] not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)]


def fault(words, folder):
    """The faults of a command that is not run, found by its help or a dry run."""
    if words[:2] == ["pip", "install"]:
        return fault_of_install(words[2:])
    if words[0] == "tox":
        return fault_of_tox(words)
    if words[0] == "pytest":
        return faults_of_pytest([words[1:]], folder)
    if words[0] == "cd":
        return [] if (ROOT / "examples" / words[1]).is_dir() else [words[1]]
    return fault_of_help(words, folder)


def fault_of_help(words, folder):
    """The error of a command whose arguments are followed by ``--help``; empty if they are known."""
    if words[0] == "taskclust":
        own = words[1 : words.index("--")] if "--" in words else words[1:]  # the words after it are pytest's
        ended = command(*own, "--help")
        return [] if ended == 0 else [ended]
    module = words[2] if words[:2] == ["python", "-m"] else None
    spec = module and importlib.util.find_spec(module)
    if module and (spec is None or "argparse" not in Path(spec.origin).read_text("utf-8")):
        return [] if spec else [f"no module {module}"]
    if module:
        code, _, said = ran_there([module, *words[3:], "--help"], folder)
        return [] if code == 0 else [code, said]
    done = ran([*words, "--help"], folder)
    return [] if done.returncode == 0 else [done.stdout[-1000:] + done.stderr[-1000:]]


@pytest.mark.parametrize("block", of("sh", is_run=True), ids=str)
def test_a_block_of_shell_runs(block, checkout):
    """Installation is only checked, since this test runs in an installation."""
    for words in commands(block.text):
        if words[:2] == ["pip", "install"]:
            assert fault_of_install(words[2:]) == []
        else:
            done = ran(words, checkout)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("block", of("sh", is_run=False), ids=str)
def test_a_command_that_is_not_run_is_valid(block, checkout):
    assert [found for words in commands(block.text) for found in fault(words, checkout)] == []


def inline_commands():
    """The commands that pages name in a sentence or a table."""
    texts = [FENCED.sub("", page.read_text("utf-8")) for page in PAGES]
    pattern = r"`((?:pytest benchmarks|taskclust [a-z]|python -m studies|tox run)[^`\n]*)`"
    return sorted({found for text in texts for found in re.findall(pattern, text)})


def test_every_command_in_a_sentence_is_valid(checkout):
    found = [
        shlex.split(line) for line in inline_commands() if "--benchmark-json" not in line
    ]  # it writes a file even without runs
    of_pytest = [words[1:] for words in found if words[0] == "pytest"]

    assert len(of_pytest) >= 10
    assert faults_of_pytest(of_pytest, checkout) == []
    assert [one for words in found if words[0] != "pytest" for one in fault(words, checkout)] == []


@pytest.mark.parametrize(
    "line",
    [
        "pip install -e .[lmm]",
        "pip install -c constraint.txt -e .",
        "tox run -e claim",
        "pytest benchmarks --profle paper",
        "taskclust records lod",
        "python -m studies.rounding_twin run",
        "python -m studies.rounding_twins runn",
    ],
)
def test_a_planted_slip_in_a_command_is_found(line, checkout):
    assert fault(shlex.split(line), checkout) != []


def test_a_mark_belongs_to_the_block_after_it_and_gives_its_reason():
    page = "<!-- not run: takes hours -->\n```sh\ntox run -e a  # b\n```\n\n```python\nx = 1\n```\n"

    first, second = blocks("page", page)

    assert (first.why_not_run, second.why_not_run) == ("takes hours", None)
    assert commands(first.text) == [["tox", "run", "-e", "a"]]
    assert (first.place, second.place) == ("page-line-2", "page-line-6")
