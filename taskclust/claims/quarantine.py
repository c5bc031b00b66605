"""Claims that are known not to reproduce: they are expected to fail, and the report shows them as findings.

A row needs evidence, never a loosened criterion; it goes when the claim reproduces, which then fails the run (strict).
"""

from typing import NamedTuple


class Finding(NamedTuple):
    """Why a cell does not reproduce, and the record that shows it."""

    reason: str
    evidence: str


_LINEAGE = "what a hard example shares with its original has several times the variance of what sets their tasks apart"
_LATE = "a tenth to a quarter of the training is left after the best epoch; half is asked, since these runs were seen"
#: Five seeds. §3's are at Table 5's rate, which is width 768's: at 256 our default leaves most hard examples unlearned.
_AT_WIDTH_256 = {
    ("cluster-emergence", "validation"): "F1 rises and stays far below 0.8: tasks are a fifteenth of the states' "
    "variance, and two fifths would be needed (reports/search/share-needed.md)",
    ("cluster-emergence", "subset"): _LINEAGE,
    ("clusters-outlast-early-stop", "best-epoch"): "it learns on: best at epochs 154 to 178 of 200",
    ("clusters-outlast-early-stop", "validation"): _LATE,
    ("clusters-outlast-early-stop", "subset"): _LATE,
    ("hard-example-separation", "subset"): _LINEAGE,
    ("inner-structure", "validation-distribution"): "distributions rule early (F1 0.8) and give way to inputs, outputs",
    ("inner-structure", "subset-distribution"): "hard distributions stay with the originals they were made from",
    ("knn-percentage", "validation"): "rises with training and depth, to 0.8",
    ("pretraining-clusters", "validation"): "states that tell the task of unseen instructions (accuracy 0.95 to 1.00) "
    "cluster by distribution (F1 0.8) before task",
    ("plateau-then-rise", "subset"): "most hard examples are not learned",
    ("switch-forgetting", "drops"): "on average every method forgets less than half of what is printed",
}
_ANSWERS = (
    "it learns nearly all, and clusters by what was read and is to be answered: F1 by mapping is 0.7, by task no more "
    "than the untrained model's"
)
_HARD_ANSWERS = (
    "it learns nearly all hard examples, and clusters them by distribution and mapping (F1 0.95); with a cluster "
    "a task a tenth of them are apart from their originals"
)
_NO_CHANGE = (
    "F1 rises with the layer, but the top layer's ends no higher than before training, so that layer 0's change is not "
    "small beside it"
)
#: Five seeds of plain GPT-2 at Table 5's rate.
_GPT2_AT_WIDTH_256 = {
    ("cluster-emergence", "validation"): _ANSWERS,
    ("cluster-emergence", "subset"): _HARD_ANSWERS,
    ("hard-example-separation", "subset"): _HARD_ANSWERS,
    ("layer-ordering", "validation"): _NO_CHANGE,
    ("layer-ordering", "subset"): _NO_CHANGE,
    (
        "inner-structure",
        "validation-distribution",
    ): "distributions rule before training (F1 0.6) and give way to inputs, outputs",
    (
        "inner-structure",
        "subset-distribution",
    ): "what distributions share gives way to inputs and outputs",
    ("knn-percentage", "validation"): "rises with training and depth, to 0.89",
}

#: (scale, claim id, cell) -> finding; a scale is "smoke", "llm" or one of the paper's widths, e.g. "paper-768",
#: and what was changed
QUARANTINE: dict[tuple[str, str, str], Finding] = {
    ("llm", "open-llm-clusters", "SmolLM2-135M-Instruct: task"): Finding(
        "a model of 135 million parameters stays below Table 1's of 6 to 13 billion, and a bag of the prompt's tokens "
        "comes within 0.05 of it after t-SNE",
        "reports/llm/tables.md",
    ),
    ("llm", "open-llm-clusters", "SmolLM2-135M-Instruct: distribution_mapping"): Finding(
        "a model of 135 million parameters stays below LLaMa's",
        "reports/llm/tables.md",
    ),
    **{
        ("paper-256", claim, cell): Finding(reason, "reports/paper-256/verdicts.md")
        for (claim, cell), reason in _AT_WIDTH_256.items()
    },
    **{
        ("paper-256 model=gpt2", claim, cell): Finding(reason, "reports/paper-256-gpt2/verdicts.md")
        for (claim, cell), reason in _GPT2_AT_WIDTH_256.items()
    },
}
