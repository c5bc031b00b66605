"""The classes to write a claim with, and the rules that decide it.

The claims themselves are the files of ``benchmarks/``. This package does not need torch.
"""

from taskclust.claims.claim import Check, Claim, KnownFailure, ResampledCheck, load_claims
from taskclust.claims.criteria import Always, AtLeast, AtMost, ConsistentWith, Exceeds
from taskclust.claims.judge import CellResult, CheckResult, judge, shown

__all__ = [
    "Always",
    "AtLeast",
    "AtMost",
    "CellResult",
    "Check",
    "CheckResult",
    "Claim",
    "ConsistentWith",
    "Exceeds",
    "KnownFailure",
    "ResampledCheck",
    "judge",
    "load_claims",
    "shown",
]
