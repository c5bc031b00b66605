"""§3.4, Table 1: open language models cluster prompts by task category; LLaMa models also by distribution and mapping.

The criteria were written after a trial with 600 prompts (F1 by task 0.81). The second check was corrected after a
review of this code, before any score of the full run was seen: by mapping, the untrained model passed its old control.
It was made stricter again before three untrained models had been read at every layer: it compared with their mean, and
now compares with the prediction for one more.
"""

from taskclust.claims import AtLeast, Claim, KnownFailure, ResampledCheck
from taskclust.experiments.natural_language import statistics as s


def checks(label, bound, reason, is_asserted):
    return (
        ResampledCheck(
            name="f1 at the best layer",
            draws=s.f1(label),
            null=s.f1(label, "untrained"),
            null_name="untrained models, mean",
            criterion=AtLeast(bound),
            source="table",
            reason=reason,
            is_asserted=is_asserted,
        ),
        ResampledCheck(
            name="f1 less the better of one more untrained model's and the bag of tokens'",
            draws=s.above_surface(label),
            null=s.above_surface(label, "bag"),
            null_name="bag of tokens, 0 at most by its making",
            criterion=AtLeast(0.05),
            source="ours",
            reason="what the words alone reach shows nothing about the model; the paper does not compare",
            is_asserted=is_asserted,
        ),
    )


CLAIM = Claim(
    id="open-llm-clusters",
    place="§3.4, Table 1",
    headline="Open LLMs cluster by category",
    sentence="Open language models, instruction-tuned or not, cluster prompts by task category; LLaMa models also by "
    "distribution and mapping.",
    experiment="natural_language",
    order=150,
    elsewhere="run each model with -m llm",
    cells={
        "task": checks("task", 0.88, "the lowest of Table 1's five models, rounded down", lambda record: True),
        "distribution_mapping": checks(
            "distribution_mapping",
            0.93,
            "the lowest of Table 1's LLaMa models, rounded down; the paper finds no such clusters in GPT-J",
            lambda record: record.architecture.model_type == "llama",
        ),
    },
    smoke_asserts="nothing: -m llm judges each model",
    figures=("language-layers-*", "language-clusters-*"),
    known_failures={
        "llm": {
            "SmolLM2-135M-Instruct: task": KnownFailure(
                "with 135 million parameters it stays below Table 1's models of 6 to 13 billion; untrained models and "
                "a bag of the prompt's tokens cluster by category as well as it does",
                "reports/llm/tables.md",
            ),
            "SmolLM2-135M-Instruct: distribution_mapping": KnownFailure(
                "with 135 million parameters it stays below the LLaMa models", "reports/llm/tables.md"
            ),
        }
    },
)


def test_open_language_model_clusters(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
