"""Groups of workers on Ray Train that outlive trials, and the pool that lends them.

Imports are left to the modules: the dispatcher's process must not import PyTorch.
"""
