"""Finds out on this machine whether a pipeline resumes exactly, and what a checkpoint costs.

Units are made by the worker itself, its generator, journal and bucket included, in processes that are really killed.

    python -m carryon_worker.certify < question.json

In order of use: `certification` looks at a model (`looking`) and chooses what to call it with (`calling`, `drawing`). A
`trial` of each scheduler interrupts a unit (`cuts`, `runs`) in processes from a `forge`, which are `observed`, and
`verdicts` says what that means. Only `forging`, `looking` and `observed` know torch: they run in processes of their
own.
"""

from carryon_worker.certify.certification import certify
from carryon_worker.certify.forge import Forge
from carryon_worker.certify.verdicts import Control, SchedulerChoice, Verdict

__all__ = ["Control", "Forge", "SchedulerChoice", "Verdict", "certify"]
