"""The worker: one pod, one process, a list of units made in order; whatever ends it, it says why."""

__version__ = "0.1.0"
