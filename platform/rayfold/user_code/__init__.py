"""The user's code: where it is found, what it consists of, and how it runs in every process.

A model's file and its local imports are read as text (``source.py``, ``imports.py``), travel as
text to every process, and are imported there under a name that holds their digest
(``loading.py``). Only classes that live in no file, those of a notebook, are pickled
(``notebook.py``).
"""

from rayfold.user_code.changes import CodeRecord, all_files, changed_files, changed_packages
from rayfold.user_code.imports import installed_versions
from rayfold.user_code.source import SourceCode, find_source, is_file_reference, source_of_files

__all__ = [
    "CodeRecord",
    "SourceCode",
    "all_files",
    "changed_files",
    "changed_packages",
    "find_source",
    "installed_versions",
    "is_file_reference",
    "source_of_files",
]
