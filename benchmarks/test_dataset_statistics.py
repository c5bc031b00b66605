"""Tables 3 and 4: our data set has the paper's counts and sizes."""

from taskclust.claims import Always, Check, Claim
from taskclust.config import PRINTED_SIZES
from taskclust.experiments.paper_tables import statistics as s

#: Table 4: the allowed values of each count. Left out is the row on the instructions of the training subset ("all
#: available"), which the printed size of the subset contradicts: silent point instructions-of-the-training-subset.
TABLE_4 = {
    "tasks": {50},
    "hard_tasks": {5},
    "instructions": {10},
    "hard_instructions": {3},
    "validation_instructions": {3},
    "mappings": {5},
    "distributions": set(range(1, 7)),
    "metacharacters": set(range(1, 4)),
    "characters": set(range(3, 11)),
    "validation_tasks": {10},
    "subset_tasks": {5},
    "instruction_symbols": {35},
    "task_symbols": {25},
    "shared_mappings": {0},
    "leaked_instructions": {0},
}
#: Table 7 differs in these rows: no hard examples, 65 task symbols.
TABLE_7 = {**TABLE_4, "hard_tasks": {0}, "hard_instructions": set(), "task_symbols": {65}}
#: With 3.5 distributions per task: 50 instances per distribution, minus 15 held out in ten tasks, plus 15 hard in five.
UNCONDITIONED = {"train": 175 * 50 - 35 * 15 + 17.5 * 15, "subset": 17.5 * 30, "validation": 35 * 15}


def size(split, printed):
    return Check(
        name="relative deviation from Table 3",
        brief="deviation from Table 3",
        statistic=s.size_deviation(split, printed),
        null=lambda record: abs(UNCONDITIONED[split] / printed - 1),
        null_name="mean of draws not conditioned on Table 3",
        paper=Always(0, 0.05),
        smoke=Always(0, 0.05),
        source="fitted",
        reason="sizes near the printed ones, within 5 %: the numbers of distributions were chosen by them",
        worst=1.0,
    )


CLAIM = Claim(
    id="dataset-statistics",
    place="Tables 3 and 4",
    headline="The data has the printed sizes",
    sentence="The data set has the counts of Table 4, but for the training subset's, and the sizes of Table 3.",
    experiment="paper_tables",
    order=10,
    smoke_asserts="the same: the paper's data set is generated at every scale",
    exact=True,
    cells={
        "table-4": (
            Check(
                name="violated rows",
                brief="wrong rows of Table 4",
                statistic=s.violations(TABLE_4),
                null=s.violations(TABLE_7),
                null_name="the rows of Table 7",
                paper=Always(0),
                smoke=Always(0),
                source="table",
                worst=float(len(TABLE_4)),
            ),
        ),
        **{f"size-{split}": (size(split, printed),) for split, printed in PRINTED_SIZES.items()},
    },
)


def test_has_the_counts_of_table_4_and_the_sizes_of_table_3(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
