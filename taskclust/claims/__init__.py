"""The paper's claims and how they are decided. Reads records and configuration only."""

from taskclust.claims.judging import CellResult, CheckResult, judge, shown
from taskclust.claims.quarantine import QUARANTINE
from taskclust.claims.registry import CLAIMS, Check, Claim

__all__ = ["CLAIMS", "QUARANTINE", "CellResult", "Check", "CheckResult", "Claim", "judge", "shown"]
