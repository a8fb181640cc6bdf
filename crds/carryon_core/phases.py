"""Phases of a job, where they cost a command no more than themselves to load."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """A printed summary, derived from the conditions and never read back."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    AWAITING_APPROVAL = "AwaitingApproval"
    RETRYING = "Retrying"
    STALLED = "Stalled"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
