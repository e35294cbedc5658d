"""Trials on Ray Tune: the trainable, the adapter for searchers, and the study's ledger.

Imports are left to the modules: a trial's process must not import PyTorch.
"""
