"""A report's tables as pandas frames, for your own figures and tests."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskclust.config import ConfigError, require

if TYPE_CHECKING:
    import pandas as pd


def _number(text: str) -> float:
    return float(text or "nan")


#: The functions that convert the text of columns; other columns stay text.
_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("mean", "low", "high", "control", "bound", "tolerance", "value"), _number),
    **dict.fromkeys(("n", "seed", "seeds"), int),
    "control_fails": "True".__eq__,
}


@dataclass(frozen=True, slots=True)
class Report:
    """The tables of a report as pandas frames, in the order of the verdicts.

    Attributes:
        checks: one row per check: claim, cell, check, verdict, n (seeds), mean, low and high (95 % interval of the
            mean), control (the negative control's mean), control_name, control_fails, criterion, bound, tolerance,
            source, reason. Numbers are unrounded, in the statistic's unit; NaN if missing.
        values: one row per check and seed: claim, cell, check, seed, value.
        verdicts: one row per condition, the text of verdicts.csv.
    """

    checks: "pd.DataFrame"
    values: "pd.DataFrame"
    verdicts: "pd.DataFrame"


def load_report(folder: Path | str) -> Report:
    """The tables of the report in ``folder``.

    Raises:
        ConfigError: pandas is not installed, or the folder has no complete report of this version.
    """
    pandas = _pandas()
    names = ("checks", "values", "verdicts")
    missing = [f"{name}.csv" for name in names if not (Path(folder) / f"{name}.csv").is_file()]
    fix = f"it has no {' and no '.join(missing)}; name a report's folder, or write an older report again"
    require(not missing, "report", str(folder), fix)
    return Report(*(_read(pandas, Path(folder) / f"{name}.csv") for name in names))


def _read(pandas: Any, table: Path) -> "pd.DataFrame":
    """One table, read by Python's csv module: pandas would take names such as "None" as missing and round numbers."""
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = [
                {name: _READERS.get(name, str)(text) for name, text in row.items()}
                for row in csv.DictReader(lines, strict=True)
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise ConfigError(f"report={str(table)!r}: not a report's table ({error}); make the report again") from error
    require(bool(rows), "report", str(table), "it has no rows; make the report again")
    return pandas.DataFrame(rows)


def _pandas() -> Any:
    try:
        import pandas as pd  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigError("pandas=None: it is not installed; pip install 'pandas>=2'") from error
    return pd
