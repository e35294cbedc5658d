"""Options as users give them: declared and checked once, and told in one line when wrong."""

from rayfold.options.options import options, parse

__all__ = ["options", "parse"]
