"""Contracts: tests that everyone who writes a part of their own can inherit. They need pytest."""

from rayfold.testing.searchers import SearcherContract

__all__ = ["SearcherContract"]
