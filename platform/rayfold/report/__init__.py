"""The table of trials, and their progress while they run."""

from rayfold.report.progress import Progress, StudyState, create_progress
from rayfold.report.tables import best_trial, logged_table, table_text, trials_table

__all__ = [
    "Progress",
    "StudyState",
    "best_trial",
    "create_progress",
    "logged_table",
    "table_text",
    "trials_table",
]
