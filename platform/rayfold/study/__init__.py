"""Studies: from arguments or a recipe to finished trials."""

from rayfold.study.result import StudyResult
from rayfold.study.study import Study

__all__ = ["Study", "StudyResult"]
