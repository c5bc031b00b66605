"""The paper's Tables 3 and 8 next to our counts."""

from collections.abc import Sequence

from taskclust.config import PRINTED_PARAMETERS, PRINTED_SIZES
from taskclust.experiments.paper_tables.record import Record
from taskclust.formats import Rows


def tables(records: Sequence[Record]) -> dict[str, Rows]:
    """The tables by title; the sizes of the data set are over all seeds."""
    return {
        "Table 3: sizes of the data set": size_rows(records) if records else [],
        "Table 8: parameters": count_rows(records[0]) if records else [],
    }


def size_rows(records: Sequence[Record]) -> Rows:
    """One row per split: the paper's size and ours."""
    return [
        {
            "set": split,
            "paper": printed,
            "ours": ", ".join(str(size) for size in sorted({record.sizes[split] for record in records})),
            "seeds": len(records),
        }
        for split, printed in PRINTED_SIZES.items()
    ]


def count_rows(record: Record) -> Rows:
    """One row per width: the paper's number of parameters and ours."""
    return [
        {"hidden dimension": width, "paper": printed, "ours": record.parameters[str(width)]}
        for width, printed in PRINTED_PARAMETERS.items()
    ]
