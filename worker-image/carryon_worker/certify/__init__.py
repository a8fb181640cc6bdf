"""Finds out on this machine whether a pipeline resumes exactly, and what a checkpoint costs.

Units are made by the worker itself, its generator, journal and bucket included, in processes that are really killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carryon_worker.certify.verdicts import Control, SchedulerChoice, Verdict

__all__ = ["Control", "SchedulerChoice", "Verdict", "certify"]


def certify(
    model: str,
    *,
    pipeline: str | None = None,
    schedulers: Sequence[SchedulerChoice] = (),
    params: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    cuts: int = 3,
) -> Sequence[Verdict]:
    """Certify a pipeline with each of some schedulers.

    Args:
        model: Folder, file:// or s3:// uri of a saved pipeline, or an id on a hub.
        pipeline: Its class, where it is not the one the model names.
        schedulers: To be put in the place of its own, one after the other; none: its own.
        params: Arguments of its call; what is needed besides is chosen by name, pictures and clips are drawn.
        dtype: Of the weights: float32, float16 or bfloat16.
        cuts: How often a unit is interrupted, each time at another call.

    Returns:
        One verdict for each scheduler. Whatever is wrong with model or arguments is in `Verdict.problem`; nothing is
        raised for what a user can do.
    """
    raise NotImplementedError
