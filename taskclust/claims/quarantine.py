"""Claims that are known not to reproduce: they are expected to fail, and the report shows them as findings.

A row needs evidence, never a moved criterion; it goes when the claim reproduces, which then fails the run (strict).
"""

from typing import NamedTuple


class Finding(NamedTuple):
    """Why a cell does not reproduce, and the record that shows it."""

    reason: str
    evidence: str


#: (profile, claim id, cell) -> finding
QUARANTINE: dict[tuple[str, str, str], Finding] = {}
