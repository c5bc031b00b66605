"""The paper's claims and how they are decided. Reads records and configuration only."""

from taskclust.claims.applications import APPLICATIONS
from taskclust.claims.judging import CellResult, CheckResult, judge, shown
from taskclust.claims.language import CELLS as LANGUAGE_CELLS
from taskclust.claims.language import LANGUAGE, judge_model
from taskclust.claims.quarantine import QUARANTINE, Finding
from taskclust.claims.registry import CLAIMS as FINDINGS
from taskclust.claims.registry import Check, Claim

CLAIMS: dict[str, Claim] = {**FINDINGS, **APPLICATIONS, LANGUAGE.id: LANGUAGE}

__all__ = [
    "CLAIMS",
    "LANGUAGE_CELLS",
    "QUARANTINE",
    "CellResult",
    "Check",
    "CheckResult",
    "Claim",
    "Finding",
    "judge",
    "judge_model",
    "shown",
]
