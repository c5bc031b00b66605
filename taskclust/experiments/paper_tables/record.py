"""The record of the counts for Tables 3, 4 and 8."""

from dataclasses import dataclass
from typing import Any

from taskclust.config import PRINTED_PARAMETERS, PRINTED_SIZES
from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.store.codec import Provenance

SCHEMA = 1
#: What a whole record's tables hold.
NAMES = {"sizes": tuple(PRINTED_SIZES), "parameters": tuple(map(str, PRINTED_PARAMETERS))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The counts of one seed's data set, and the models' numbers of parameters."""

    config: TablesConfig
    sizes: dict[str, int]  # number of instances, by split
    counts: dict[str, list[int]]  # the values that occur, by quantity of Table 4
    parameters: dict[str, int]  # by width
    wide_parameters: dict[str, int]  # by width, with GPT-2's feed-forward width of 4 x width
    seconds: dict[str, float]
    provenance: Provenance
    failure: str | None = None
    schema: int = SCHEMA


def answers(record: Record) -> TablesConfig:
    """The configuration that the record belongs to."""
    return record.config


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of today's format from any earlier one; so far there is only one format."""
    return plain
