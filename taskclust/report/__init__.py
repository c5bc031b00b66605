"""Tables, figures and the page: records and verdicts in, files out; nothing is trained or scored here."""

from taskclust.report.page import write_report
from taskclust.report.tables import plain, verdict_rows

__all__ = ["plain", "verdict_rows", "write_report"]
