"""Tables, figures and the page: records and verdicts in, files out; nothing is trained or scored here."""

from taskclust.report.page import check_folder, tables_of, write_report
from taskclust.report.tables import closing_rows, verdict_rows

__all__ = ["check_folder", "closing_rows", "tables_of", "verdict_rows", "write_report"]
