"""Trials on Ray Tune: the trainable, the adapter for searchers, and the study's ledger."""

from rayfold.tuning.adapter import SearcherAdapter
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.trainable import FoldOrder, TrialRunner, trial_resources

__all__ = ["FoldOrder", "Ledger", "SearcherAdapter", "TrialRunner", "trial_resources"]
