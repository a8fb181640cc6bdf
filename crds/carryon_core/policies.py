"""What `spec.checkpoint` comes to: the cadence that workers are told."""

from __future__ import annotations

from typing import Final

from carryon_core import sizes
from carryon_core.messages import Cadence
from carryon_core.spec import Checkpoint

SECONDS: Final = {"Low": 60.0, "Medium": 15.0, "High": 5.0}
"""Seconds of work that a policy may lose to a worker killed without a word."""

BYTES: Final = 64 * 2**20
"""Bytes that may wait to be written, whatever their age."""


def cadence(checkpoint: Checkpoint) -> Cadence:
    """How often a worker writes down what it has; an exact number goes before the policy's, but never before Off."""
    if checkpoint.policy == "Off":
        return Cadence(enabled=False)
    every = checkpoint.every_seconds
    return Cadence(
        every_seconds=SECONDS[checkpoint.policy] if every is None else float(every),
        every_bytes=BYTES if checkpoint.every_bytes is None else sizes.size(checkpoint.every_bytes),
        max_bytes=None if checkpoint.max_bytes is None else sizes.size(checkpoint.max_bytes),
    )
