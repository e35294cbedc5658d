"""The facade: a study from its arguments or its recipe to its finished trials."""

from rayfold.study.result import StudyResult
from rayfold.study.study import Study

__all__ = ["Study", "StudyResult"]
