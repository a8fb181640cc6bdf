"""Whether there is still room on the disks: jobs are paused before a full one breaks them, and the control plane."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_MIB: Final = 1024 * 1024
_RESERVE: Final = 1024 * _MIB
_SHARE: Final = 20
_MARGIN: Final = 64 * _MIB
"""Bytes more than the reserve that must be free until pods come back: else they would come and go."""


@dataclass(frozen=True)
class Disk:
    """The file system of a folder; sizes in bytes."""

    folder: Path
    size: int
    free: int


@dataclass(frozen=True)
class Shortage:
    """A disk with too little room; sizes in bytes."""

    folder: Path
    free: int
    reserve: int

    def __str__(self) -> str:
        return (
            f"The node was low on resource: ephemeral-storage. Threshold quantity: {self.reserve // _MIB}Mi, available:"
            f" {self.free // _MIB}Mi at {self.folder}: free space there, and work goes on."
        )


def look(folders: Iterable[Path]) -> list[Disk]:
    """The disks of folders that can be looked at; one that is not there yet counts as the folder it will lie in."""
    found = []
    for folder in folders:
        try:
            there = next(each for each in (folder, *folder.parents) if each.exists())
            usage = shutil.disk_usage(there)
        except OSError as error:  # a mount that went away: pods that need it will say so
            log.debug("the disk of %s can't be looked at: %s", folder, error)
        else:
            found.append(Disk(folder, usage.total, usage.free))
    return found


def shortage(disks: Iterable[Disk], reserve: int | None, before: Shortage | None) -> Shortage | None:
    """The first disk that has less free than is kept in reserve.

    Args:
        disks: Where pods write.
        reserve: Bytes; None keeps 1 GiB, or a twentieth of a disk where that is less.
        before: What was short until now: it needs a little more until it counts as enough.
    """
    for disk in disks:
        kept = min(_RESERVE, disk.size // _SHARE) if reserve is None else reserve
        margin = min(_MARGIN, kept // 10) if before is not None and before.folder == disk.folder else 0
        if disk.free < kept + margin:
            return Shortage(disk.folder, disk.free, kept)
    return None
