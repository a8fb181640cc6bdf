"""Memory limits by cgroup, where this machine lets us: an end for want of memory is then told from a crash."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_V1: Final = Path("/sys/fs/cgroup/memory")
_V2: Final = Path("/sys/fs/cgroup")


class MemoryLimits:
    """Groups of processes with a memory limit, one for each container."""

    def __init__(self, root: Path, version: int) -> None:
        self._root = root
        self._limit = "memory.limit_in_bytes" if version == 1 else "memory.max"
        self._events = "memory.oom_control" if version == 1 else "memory.events"

    @classmethod
    def find(cls, node: str) -> MemoryLimits | None:
        """What this machine offers; None, with a line in the log, when limits can't be set.

        Args:
            node: Tells the groups of this node from those of another one on the same machine.
        """
        version, parent = (1, _V1) if (_V1 / "memory.limit_in_bytes").exists() else (2, _V2)
        root = parent / f"carryon-{node}"
        limits = cls(root, version)
        try:
            root.mkdir(exist_ok=True)
            if version == 2:
                (parent / "cgroup.subtree_control").write_text("+memory")
                (root / "cgroup.subtree_control").write_text("+memory")
            limits.limit("probe", 1 << 30)
            limits.remove("probe")
        except OSError as error:
            log.info("memory limits of containers are not enforced on this machine: %s", error)
            return None
        return limits

    def clear(self) -> None:
        """Forget the groups of an earlier node; their processes have ended."""
        for folder in self._root.iterdir():
            if folder.is_dir():
                self.remove(folder.name)

    def close(self) -> None:
        """Leave nothing behind."""
        self.clear()
        try:
            self._root.rmdir()
        except OSError as error:
            log.debug("cgroup %s stays: %s", self._root, error)

    def limit(self, group: str, size: int) -> None:
        """Make a group that may use so many bytes."""
        folder = self._root / group
        folder.mkdir(exist_ok=True)
        (folder / self._limit).write_text(str(size))

    def join(self, group: str, pid: int) -> None:
        """Put a process, and everything it will start, into a group."""
        (self._root / group / "cgroup.procs").write_text(str(pid))

    def was_exceeded(self, group: str) -> bool:
        """Whether the kernel ended a process of the group for want of memory."""
        for line in (self._root / group / self._events).read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count) > 0
        return False

    def remove(self, group: str) -> None:
        """Forget a group whose processes have ended."""
        try:
            os.rmdir(self._root / group)
        except OSError as error:
            log.debug("cgroup %s stays: %s", group, error)
