"""Trials on Ray Tune: the trainable, the adapter for searchers, and the study's ledger.

This file imports nothing, because a trial's process must not import PyTorch.
"""
