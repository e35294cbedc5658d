"""MLflow: one uploader that follows the journal, and reading back what it logged.

MLflow is imported when the first call needs it, so that ``import rayfold`` stays quick.
"""

from rayfold.tracking.model_registry import ServedModel, check_model_name, register_model
from rayfold.tracking.names import study_names
from rayfold.tracking.runs import (
    LoggedStudy,
    LoggedTrial,
    StudyRun,
    list_descriptions,
    list_studies,
    read_study,
)
from rayfold.tracking.store import check_store, experiment_name, tracking_uri
from rayfold.tracking.ui import ui_command
from rayfold.tracking.uploader import Uploader

__all__ = [
    "LoggedStudy",
    "LoggedTrial",
    "ServedModel",
    "StudyRun",
    "Uploader",
    "check_model_name",
    "check_store",
    "experiment_name",
    "list_descriptions",
    "list_studies",
    "read_study",
    "register_model",
    "study_names",
    "tracking_uri",
    "ui_command",
]
