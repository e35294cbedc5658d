"""Options: declared and checked once, with one line for each wrong field."""

from rayfold.options.options import ARGUMENTS, options

__all__ = ["ARGUMENTS", "options"]
