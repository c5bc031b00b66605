"""Which interpretation of Appendix A gives the sizes of Table 3 without a draw that is conditioned on them?

``python -m studies.table_3 reports/table-3/table-3.md`` generates the data set of each interpretation (reading) with
seeds 0 to 9 and writes how far its sizes are from the printed ones. Nothing is trained: no score has an influence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

from studies import command_line, require_own
from taskclust.config import PRINTED_SIZES, DataConfig, RegexConfig
from taskclust.data import Dataset, generate

SEEDS = range(10)
#: The longest instruction of any reading: three metacharacters, ten characters in each, ten repeats.
LONGEST = 3 * 10 * 10
#: The printed size of each count. Table 3's training subset is compared twice: with the hard examples only, and with
#: the hard examples and their originals, which the training subset "contains" as well (§3.2).
PRINTED = {
    "training": PRINTED_SIZES["train"],
    "validation": PRINTED_SIZES["validation"],
    "hard examples": PRINTED_SIZES["subset"],
    "hard examples and originals": PRINTED_SIZES["subset"],
}
#: The sizes by which readings are ranked; the training subset is left out, because its content is not clear.
RANKED = ("training", "validation")

#: The sizes of one reading, one per seed, by what is counted.
Sizes = Mapping[str, Sequence[int]]

_QUANTIFIERS = ("star", "plus", "option")
#: Readings: what `*`, `+` and `?` repeat, the families, and the most repeats of `*` and `+`.
REGEXES = {
    "`abcd*`, at most 5 repeats": RegexConfig(quantified="last", max_repeats=5, max_length=LONGEST),
    "`abcd*`, at most 10": RegexConfig(quantified="last", max_repeats=10, max_length=LONGEST),
    "`abcd*`, at most 10, with classes and alternations": RegexConfig(
        quantified="last", max_repeats=10, max_length=LONGEST, families=(*_QUANTIFIERS, "class", "alternation")
    ),
    "`(abcd)*`, at most 10": RegexConfig(max_repeats=10, max_length=LONGEST),
    "`(abcd)*`, at most 3": RegexConfig(max_repeats=3, max_length=LONGEST),
}


def free_draw(regex: RegexConfig) -> DataConfig:
    """The settings of the plain procedure: each task draws 1 to 6 distributions on its own; no pattern is drawn again.

    Hard examples replace one position, because ``aaa`` and ``bbb`` of a class would become equal if a new symbol
    replaced theirs throughout. Their number does not depend on this.
    """
    return DataConfig(regex=regex, distribution_totals=(), small_languages="keep", hard_replacement="instruction")


def sizes(dataset: Dataset) -> dict[str, int]:
    """The numbers of instances in a data set, by the names of :data:`PRINTED`."""
    return {
        "training": dataset.train.n_instances,
        "validation": dataset.validation.n_instances,
        "hard examples": int(dataset.train.labels("is_hard").sum()),
        "hard examples and originals": dataset.subset.n_instances,
    }


def sizes_of_seeds(config: DataConfig, seeds: Iterable[int]) -> Sizes:
    """The sizes of the data sets of ``seeds``, by what is counted.

    Raises:
        ConfigError: a data set cannot be generated in a bounded number of tries.
    """
    found = [sizes(generate(config, seed)) for seed in seeds]
    return {name: [one[name] for one in found] for name in PRINTED}


def mean_distributions(seeds: Sequence[int]) -> tuple[float, float]:
    """The mean number of distributions over ``seeds``: in all tasks, and in validation tasks.

    It is the same for every reading, because numbers of distributions are drawn before the first pattern.
    """
    config = free_draw(next(iter(REGEXES.values())))
    counts = np.array(
        [[len(t.distributions) for t in generate(config, seed).tasks[: config.n_tasks]] for seed in seeds]
    )
    every, validated = counts.sum(axis=1).mean(), counts[:, : config.n_validation_tasks].sum(axis=1).mean()
    return float(every), float(validated)


def distance(values: Sequence[int], printed: int) -> float:
    """The distance of the mean of ``values`` from ``printed``, in standard deviations; NaN if all values are equal."""
    deviation = float(np.std(values, ddof=1))
    return abs(float(np.mean(values)) - printed) / deviation if deviation else float("nan")


def table(found: Mapping[str, Sizes]) -> str:
    """One row for the printed sizes and one per reading: mean, standard deviation and, in brackets, the distance."""
    rows = [{"reading": "*printed in Table 3*", **{name: f"*{value:,}*" for name, value in PRINTED.items()}}]
    rows += [
        {"reading": reading, **{name: _cell(one[name], PRINTED[name]) for name in PRINTED}}
        for reading, one in found.items()
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _cell(values: Sequence[int], printed: int) -> str:
    apart = distance(values, printed)
    return f"{np.mean(values):,.0f} ± {np.std(values, ddof=1):,.0f} ({'none' if np.isnan(apart) else f'{apart:.1f}'})"


def ranking(found: Mapping[str, Sizes]) -> dict[str, float]:
    """The largest distance of each reading among :data:`RANKED`, nearest first."""
    farthest = {reading: max(distance(one[name], PRINTED[name]) for name in RANKED) for reading, one in found.items()}
    return dict(sorted(farthest.items(), key=lambda pair: pair[1]))


def report(to: str, seeds: Sequence[int]) -> str:
    """The page: readings without a limit of length, their ranking, and the same with the default's limit."""
    whole = {name: sizes_of_seeds(free_draw(regex), seeds) for name, regex in REGEXES.items()}
    limit = RegexConfig().max_length
    cut = {name: sizes_of_seeds(free_draw(replace(regex, max_length=limit)), seeds) for name, regex in REGEXES.items()}
    default = {"default: `(abcd)*`, at most 3, conditioned on Table 3": sizes_of_seeds(DataConfig(), seeds)}
    ranked = "\n".join(f"1. {reading}: {apart:.1f}" for reading, apart in ranking(whole).items())
    every, validated = mean_distributions(seeds)
    return _PAGE.format(
        command=f"python -m studies.table_3 {to}",
        seeds=f"seeds {min(seeds)} to {max(seeds)}",
        whole=table({**whole, **default}),
        ranked=ranked,
        every=every,
        validated=validated,
        limit=limit,
        cut=table(cut),
    )


_PAGE = """# Does Table 3 need a conditioned draw?

Made by `{command}`: {seeds}, nothing trained.

A cell is the mean number of instances over seeds, plus or minus the standard deviation of a seed. In brackets is the
distance of the mean to the printed size in these standard deviations.

{whole}

Except in the last row, every task draws 1 to 6 distributions on its own and no pattern is drawn again. A distribution
gives up to ten instructions to training and, in the validation tasks, up to three more to validation; a string that
another distribution has is lost. Instructions have three symbols or more, without an upper limit. Training includes
hard examples. The last row meets the sizes by construction: the draw was conditioned on them, so that it is no
evidence.

## Which reading is nearest?

The larger of the distances of training and validation:

{ranked}

The paper's sizes are one draw, so a distance below two only says that a reading is possible. Most of the deviation
comes from the numbers of distributions, which are the same for all readings of a seed. On average over these seeds they
are {every:.1f} in all tasks (175 expected) and {validated:.1f} in the validation tasks (35 expected).

**That training comes first is an assumption too.** Small languages then leave validation fewer than three instructions.
Where validation took its three first, it would have nearly 35 x 3 x 5 = 525 instances.

**The training subset** ranks no reading, because the paper does not say what its 180 instances are. It "contains both
the hard examples and their original examples" (§3.2). With three of each per distribution, 180 instances take exactly
six distributions in five tasks; of the free draws of 1 to 6 per task, 5 in 7,776 have six.

## With instructions of at most {limit} symbols, as by default

{cut}
"""


def main(to: str) -> None:
    """Write the page to ``to``."""
    require_own(Path(to), "studies.table_3")
    Path(to).write_text(report(to, SEEDS), encoding="utf-8")


if __name__ == "__main__":
    command_line(main, __doc__, to="the page to write")
