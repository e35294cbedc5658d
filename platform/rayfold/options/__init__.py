"""Options as users give them: declared and checked once, and told in one line when wrong."""

from rayfold.options.options import ARGUMENTS, options

__all__ = ["ARGUMENTS", "options"]
