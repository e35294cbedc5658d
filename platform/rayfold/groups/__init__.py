"""Groups of workers on Ray Train that outlive trials, and the pool that lends them to trials.

This file imports nothing, because the dispatcher's process must not import PyTorch.
"""
