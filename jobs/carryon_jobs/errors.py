"""Why something can't be said of a job, or done to it: sentences for whoever asked."""

from __future__ import annotations


class JobError(Exception):
    """What was asked can't be had."""


class BadRequest(JobError):
    """It was asked in a form that nobody understands."""


class Unknown(JobError):
    """The job has no such stage or unit."""


class NotPossible(JobError):
    """The job does not allow it as it stands."""


class OutOfReach(JobError):
    """The bucket gives no answer that helps, or its keys can't be had."""
