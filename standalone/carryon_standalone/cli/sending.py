"""Carries out an action: the patch that fits the job as it is, sent as long as nobody else changes it in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carryon_core.actions import Action
from carryon_jobs.acting import Already, Make, verdict_on
from carryon_jobs.job import Job
from carryon_standalone.cli.cluster import Cluster, Conflict
from carryon_standalone.cli.errors import CommandError

_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an action.

    Attributes:
        job: As it was last seen.
        already: Why nothing had to be sent, None where something was.
    """

    job: Mapping[str, Any]
    already: str | None = None


def act(cluster: Cluster, name: str, make: Make, action: Action) -> Answer:
    """Carry out an action.

    Args:
        cluster: Where the job is.
        name: Of the job.
        make: From the job as it is now, and the verdict on the action, to the patch.
        action: What to do.

    Raises:
        JobError: It is not possible, with the reason and what would help.
        CommandError: The cluster refused, or the job changes all the time.
    """
    for _ in range(_TRIES):
        job = Job(cluster.job(name), cluster.secret)
        made = make(job, verdict_on(job, action))
        if isinstance(made, Already):
            return Answer(job.raw, made.reason)
        metadata = {**made.get("metadata", {}), "resourceVersion": job.raw["metadata"]["resourceVersion"]}
        try:
            return Answer(cluster.patch(name, {**made, "metadata": metadata}))
        except Conflict:
            continue
    raise CommandError(f"{name} changes all the time: try again")
