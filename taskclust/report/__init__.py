"""Tables, figures and the page: records and verdicts in, files out; nothing is trained or scored here."""

from taskclust.report.page import check_folder, write_report
from taskclust.report.tables import language_rows, plain, verdict_rows

__all__ = ["check_folder", "language_rows", "plain", "verdict_rows", "write_report"]
