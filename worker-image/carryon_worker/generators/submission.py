"""What is known of a unit's submission to a service, kept in the bucket before and after it is sent.

A worker that is killed in between leaves `sent`: the next one sends it again under the same key, by which the service
knows it. Once it is `taken`, nobody sends it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

_FILE: Final = "submission.json"


class Stand(StrEnum):
    """How far it is known to be."""

    NEW = "new"
    SENT = "sent"
    """It may have arrived."""
    TAKEN = "taken"
    """The service has answered."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission.

    Attributes:
        number: From 1; another one after each that the service has ended without a result.
        answer: The service's answer, as JSON, once it is taken.
    """

    number: int = 1
    stand: Stand = Stand.NEW
    answer: Any = None

    def key(self, unit: str) -> str:
        """By which the service knows it again: the same in every attempt at this unit.

        Args:
            unit: Text that no other unit has.
        """
        return str(uuid.UUID(bytes=hashlib.sha256(f"{unit}\n{self.number}".encode()).digest()[:16], version=5))


class Record:
    """The submission of one unit, durable.

    Args:
        folder: That outlives the attempt.
        save: Makes durable what lies in the folder.
    """

    def __init__(self, folder: Path, save: Callable[[], None]) -> None:
        self._path = folder / _FILE
        self._save = save
        self.submission = _read(self._path)

    def sending(self) -> None:
        """It is about to be sent.

        Raises:
            StoreError: That could not be kept: it must not be sent.
        """
        self._keep(replace(self.submission, stand=Stand.SENT))

    def taken(self, answer: Any) -> None:
        """The service has answered.

        Raises:
            StoreError: That could not be kept. The next attempt sends it again, under the same key.
        """
        self._keep(replace(self.submission, stand=Stand.TAKEN, answer=answer))

    def ended(self) -> None:
        """Nothing will come of it: another attempt is to submit anew.

        Raises:
            StoreError: That could not be kept.
        """
        self._keep(Submission(self.submission.number + 1))

    def _keep(self, submission: Submission) -> None:
        if submission == self.submission:
            return
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(asdict(submission)), encoding="utf-8")
        os.replace(new, self._path)
        self.submission = submission
        self._save()


def _read(path: Path) -> Submission:
    if not path.exists():
        return Submission()
    said = json.loads(path.read_text(encoding="utf-8"))
    return Submission(said["number"], Stand(said["stand"]), said["answer"])
