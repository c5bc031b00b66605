"""Kinds of model are tried as the table says, and faults are reported."""

import pytest
import torch

from studies import architectures as A
from taskclust.models import alignment as aligning


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bamba"])
def test_a_sound_kind_is_read_aligned_and_opened_again(kind):
    found = A.tried(kind)

    assert (found.read, found.continued, found.reopened) == ("equal", "equal", "equal")
    assert found.is_sound


@pytest.mark.parametrize(
    ("kind", "read", "continued"),
    [("cohere", "equal", "refused: its logits"), ("xlnet", "refused: its states look ahead", "")],
)
def test_a_refusal_is_quoted(kind, read, continued):
    found = A.tried(kind)

    assert found.read.startswith(read)
    assert found.continued.startswith(continued)
    assert found.is_sound


def test_wrong_states_are_reported(monkeypatch):
    reading = A.read_checked
    monkeypatch.setattr(A, "read_checked", lambda *args: (1.01 * (found := reading(*args))[0], found[1]))

    found = A.tried("llama")

    assert found.read.startswith("differs by 0.01")
    assert not found.is_sound


def test_changed_answers_of_an_aligned_model_are_reported(monkeypatch):
    def generate(self, inputs, **kwargs):
        return super(aligning.AlignedModel, self).generate(inputs.flip(0), **kwargs)

    monkeypatch.setattr(aligning.AlignedModel, "generate", generate)

    assert A.tried("llama").continued == "differs in a token"


def test_an_unforeseen_error_is_reported(monkeypatch):
    monkeypatch.setattr(A, "read_checked", lambda *_args: {}["nothing"])

    found = A.tried("llama")

    assert found.read == "unforeseen: KeyError: 'nothing'"
    assert not found.is_sound


def test_a_model_that_cannot_be_built_is_not_a_fault(monkeypatch):
    monkeypatch.setitem(A.OWN, "llama", {"num_attention_heads": 5})

    found = A.tried("llama")

    assert found.built.startswith("not built: ")
    assert found.is_sound


def test_the_page_counts_and_lists(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    with pytest.raises(SystemExit, match=r"^False$"):
        A.main([str(tmp_path / "page.md"), "llama", "cohere"])

    text = (tmp_path / "page.md").read_text("utf-8")
    counts = {cells[1].strip(): cells[2].strip() for line in text.splitlines() if (cells := line.split("|"))[3:]}
    assert "Each of 2 kinds" in text
    assert counts["built"] == counts["states equal"] == "2"
    assert counts["read and refused by align"] == "1"
    assert counts["saved and reopened equal"] == "1"
    assert counts["wrong or unforeseen"] == "0"
