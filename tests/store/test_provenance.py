"""Records have their provenance, and missing facts cause no error."""

import datetime as dt
import re
import subprocess

import pytest
import torch

from taskclust.store import provenance as module
from taskclust.store.provenance import processor, provenance


def test_code_libraries_machine_and_time_are_named():
    found = provenance("cpu")

    assert found.keys() >= {"time", "commit", "uncommitted_changes", "python", "torch", "numpy", "device", "platform"}
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == processor()
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(found["time"])
    assert dt.timedelta(0) <= age < dt.timedelta(minutes=1)
    assert {type(value) for value in found.values()} <= {str, int, bool, type(None)}


def test_the_commit_is_the_packages_own_in_any_folder(tmp_path, monkeypatch):
    inside = provenance("cpu")["commit"]

    monkeypatch.chdir(tmp_path)

    assert provenance("cpu")["commit"] == inside
    assert inside is None or re.fullmatch("[0-9a-f]{40}", inside)


@pytest.mark.parametrize("is_tracked", [True, False])
def test_the_commit_of_a_repository_around_an_installed_package_is_not_its_own(tmp_path, monkeypatch, is_tracked):
    installed = tmp_path / "site-packages" / "provenance.py"
    installed.parent.mkdir()
    installed.touch()
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    added = [["add", installed]] if is_tracked else []
    for words in (["init", "--quiet"], *added, [*author, "commit", "--quiet", "--allow-empty", "--message=theirs"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(module, "__file__", str(installed))

    assert (provenance("cpu")["commit"] is not None) == is_tracked


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git"), subprocess.TimeoutExpired("git", 10)]
)
def test_without_git_the_commit_is_unknown(monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(module.subprocess, "run", fail)

    found = provenance("cpu")

    assert (found["commit"], found["uncommitted_changes"]) == (None, False)


def test_a_processor_has_a_name():
    assert processor()
