"""Reports read back from their verdicts.json, to compare them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from taskclust.config import ConfigError
from taskclust.store.folders import as_json


@dataclass(frozen=True, slots=True)
class SavedCheck:
    """One check of a report; None stands for NaN."""

    name: str
    values: list[float | None]  # one per seed
    mean: float | None
    low: float | None  # 95 % interval of the mean
    high: float | None
    criterion: str
    verdict: str
    brief: str = ""
    null_mean: float | None = None  # the negative control's
    null_fails: bool = True  # whether it fails, as it must


@dataclass(frozen=True, slots=True)
class SavedCell:
    """One condition (cell) of a claim, with its checks."""

    claim: str
    cell: str
    scale: str
    seeds: list[int]
    checks: list[SavedCheck]
    verdict: str

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"{self.claim}, {self.cell}: a seed occurs twice")
        if any(len(check.values) != len(self.seeds) for check in self.checks):
            raise ValueError(f"{self.claim}, {self.cell}: not one value per seed")

    def by_seed(self, check: SavedCheck) -> dict[int, float]:
        """The check's values by seed; NaN if missing."""
        numbers = [math.nan if value is None else value for value in check.values]
        return dict(zip(self.seeds, numbers, strict=True))


@dataclass(frozen=True, slots=True)
class SavedReport:
    """The content of a report's verdicts.json."""

    profile: str
    command: str
    provenance: dict[str, Any]
    results: list[SavedCell]


def read_report(folder: Path) -> SavedReport:
    """The report in ``folder``.

    Raises:
        ConfigError: the folder does not exist or is not a report.
    """
    where = f"report={str(folder)[:200]!r}"
    try:
        text = (folder / "verdicts.json").read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: there is no such folder with a verdicts.json; name a report's folder") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{where}: its verdicts.json cannot be read ({reason}); name a report's folder") from error
    try:
        return msgspec.convert(as_json(json.loads(text)), SavedReport)  # older reports have NaN, which msgspec refuses
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: its verdicts.json is not a report ({error}); make the report again") from error
