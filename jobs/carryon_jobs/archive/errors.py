"""Why an archive is not made or not taken: sentences for whoever asked."""

from __future__ import annotations

from carryon_jobs.errors import BadRequest, JobError, OutOfReach


class BadArchive(JobError):
    """The file is no archive, or one that nobody should use; what it says itself is made harmless to a terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Incomplete(BadArchive):
    """The part of an archive that is at hand ends too early to say anything."""


class NameTaken(JobError):
    """There is a job of that name.

    Attributes:
        free: A name that is free.
    """

    def __init__(self, message: str, free: str) -> None:
        super().__init__(message)
        self.free = free


class NeedsSecrets(BadRequest):
    """The job names Secrets of where it comes from: somebody has to say which take their place.

    Attributes:
        secrets: Name -> where the job names it.
    """

    def __init__(self, message: str, secrets: dict[str, str]) -> None:
        super().__init__(message)
        self.secrets = secrets


class Unanswered(OutOfReach):
    """An API server gave no answer: what was asked may have been done all the same."""


def printable(text: str) -> str:
    """A text that somebody else may have chosen, without what would do something to a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
