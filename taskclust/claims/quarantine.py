"""Claims that are known not to reproduce: they are expected to fail, and the report shows them as findings.

A row needs evidence, never a moved criterion; it goes when the claim reproduces, which then fails the run (strict).
"""

from typing import NamedTuple


class Finding(NamedTuple):
    """Why a cell does not reproduce, and the record that shows it."""

    reason: str
    evidence: str


#: (scale, claim id, cell) -> finding; a scale is "smoke", "llm" or one of the paper's widths, e.g. "paper-768"
QUARANTINE: dict[tuple[str, str, str], Finding] = {
    ("llm", "open-llm-clusters", "SmolLM2-135M-Instruct: task"): Finding(
        "a model of 135 million parameters stays below Table 1's of 6 to 13 billion, and a bag of the prompt's tokens "
        "comes within 0.05 of it",
        "reports/llm/tables.md",
    ),
    ("llm", "open-llm-clusters", "SmolLM2-135M-Instruct: distribution_mapping"): Finding(
        "a model of 135 million parameters stays below LLaMa's",
        "reports/llm/tables.md",
    ),
    ("paper-256", "cluster-emergence", "validation"): Finding(
        "F1 rises and stays far below 0.8: tasks are a fourteenth of the states' variance, and would have to be half",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "cluster-emergence", "subset"): Finding(
        "what a hard example shares with its original outweighs what sets their tasks apart",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "clusters-outlast-early-stop", "best-epoch"): Finding(
        "at Table 5's rate for width 768, width 256 learns until the end",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "hard-example-separation", "subset"): Finding(
        "what a hard example shares with its original outweighs what sets their tasks apart",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "inner-structure", "validation-distribution"): Finding(
        "distributions rule early (F1 0.8) and give way to inputs and outputs",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "inner-structure", "subset-distribution"): Finding(
        "hard distributions stay with the originals they were made from",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "knn-percentage", "validation"): Finding(
        "rises with training and depth, to 0.8",
        "reports/paper-256/verdicts.md",
    ),
    ("paper-256", "plateau-then-rise", "subset"): Finding(
        "at Table 5's rate for width 768, most hard examples are not learned",
        "reports/paper-256/verdicts.md",
    ),
}
