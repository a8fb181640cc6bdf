"""Carries out an action: the patch that fits the job as it is, sent as long as nobody else changes it in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from carryon_jobs.acting import Already, verdict_on
from carryon_jobs.errors import JobError, OutOfReach
from carryon_jobs.job import Job
from carryon_jobs.orders import Order
from carryon_standalone.cli.cluster import Cluster, Conflict, Forbidden, NotFound, Refused, Unreachable
from carryon_standalone.cli.errors import CommandError

_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order.

    Attributes:
        job: As it was last seen.
        already: Nothing had to be sent.
        said: What was done, or why nothing was.
    """

    job: Mapping[str, Any]
    already: bool
    said: str


class Outcome(StrEnum):
    """What came of an action on one of several jobs."""

    ACCEPTED = "accepted"
    ALREADY = "already"
    REFUSED = "refused"
    """The job does not allow it as it stands."""
    FORBIDDEN = "forbidden"
    NOT_FOUND = "notFound"
    FAILED = "failed"


GOOD: Final = (Outcome.ACCEPTED, Outcome.ALREADY)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an action on one of several jobs, and a sentence about it."""

    namespace: str
    name: str
    outcome: Outcome
    detail: str


def act(cluster: Cluster, name: str, order: Order) -> Answer:
    """Carry out an order.

    Args:
        cluster: Where the job is.
        name: Of the job.
        order: What to do.

    Raises:
        JobError: It is not possible, with the reason and what would help.
        CommandError: The cluster refused, or the job changes all the time.
    """
    for _ in range(_TRIES):
        job = Job(cluster.job(name), cluster.secret)
        made = order.make(job, verdict_on(job, order.action))
        if isinstance(made, Already):
            return Answer(job.raw, True, made.reason)
        metadata = {**made.get("metadata", {}), "resourceVersion": job.raw["metadata"]["resourceVersion"]}
        try:
            return Answer(cluster.patch(name, {**made, "metadata": metadata}), False, order.told(job, made))
        except Conflict:
            continue
    raise CommandError(f"{name} changes all the time: try again")


def each_of(cluster: Cluster, selector: str, do: Callable[[str], tuple[Outcome, str]]) -> Iterator[Result]:
    """Do the same to every job with some labels, whatever becomes of the others.

    Args:
        cluster: Where they are.
        selector: Labels, as kubectl takes them.
        do: Takes a job's name; the outcome and a sentence, or an exception.

    Raises:
        CommandError: The selector is none, or the cluster does not answer (any more).
    """
    for job in cluster.jobs(selector):
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            outcome, detail = do(name)
        except Unreachable:
            raise
        except (JobError, CommandError) as error:
            outcome, detail = outcome_of(error), str(error).removeprefix(f"{name}: ")
        yield Result(namespace, name, outcome, detail)


def outcome_of(error: JobError | CommandError) -> Outcome:
    """The word for why an action did not come about."""
    match error:
        case NotFound():
            return Outcome.NOT_FOUND
        case Forbidden():
            return Outcome.FORBIDDEN
        case Refused():
            return Outcome.REFUSED
        case OutOfReach() | CommandError():
            return Outcome.FAILED
        case _:
            return Outcome.REFUSED
