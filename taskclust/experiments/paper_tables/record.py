"""What is counted for Tables 3, 4 and 8."""

from dataclasses import dataclass
from typing import Any

from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.store.codec import Provenance

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One seed's data set, and the models' sizes."""

    config: TablesConfig
    sizes: dict[str, int]  # instances by split
    counts: dict[str, list[int]]  # by Table 4's quantity, the values that occur
    parameters: dict[str, int]  # by width
    wide_parameters: dict[str, int]  # by width, with GPT-2's feed-forward of 4 x width
    seconds: dict[str, float]
    provenance: Provenance
    failure: str | None = None
    schema: int = SCHEMA


def answers(record: Record) -> TablesConfig:
    """The configuration that the record answers for."""
    return record.config


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of any form as that of today's: there has been one."""
    return plain
