"""Limits by cgroup, where this machine lets us: an end for want of memory is then told from a crash."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_TREE: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "carryon-"
_PERIOD: Final = 100_000
"""Microseconds in which a container may use its share of the processors."""


class Limits:
    """Groups of processes with limits, one for each container.

    Version 1 of cgroups has a tree for each resource, version 2 one for all; the first root is that of memory. As long
    as a node lives, it holds a lock on its root: what nobody holds was left by a node that was killed.

    Attributes:
        cpu: Whether the use of processors can be limited too.
    """

    def __init__(self, roots: tuple[Path, ...], version: int, cpu: bool) -> None:
        self._roots = roots
        self._version = version
        self._held: int | None = None
        self.cpu = cpu

    @classmethod
    def find(cls, node: str) -> Limits | None:
        """What this machine offers; None, with a line in the log, when limits can't be set.

        Args:
            node: Tells the groups of this node from those of another one on the same machine.
        """
        version = 1 if (_TREE / "memory" / "memory.limit_in_bytes").exists() else 2
        parents = [_TREE / "memory", _TREE / "cpu"] if version == 1 else [_TREE]
        # Processors come second to memory: a machine may offer the one without the other.
        for cpu in (True, False):
            limits = cls(tuple(each / f"{_PREFIX}{node}" for each in parents), version, cpu)
            try:
                limits._prepare()
            except OSError as error:
                limits._let_go()
                what = "limits" if not cpu else "CPU limits"
                log.info("%s of containers are not enforced on this machine: %s", what, error)
                parents = parents[:1]
            else:
                limits._sweep()
                return limits
        return None

    def _prepare(self) -> None:
        self._held = _made_and_held(self._roots[0])
        for root in self._roots[1:]:
            root.mkdir(exist_ok=True)
        if self._version == 2:
            for controller in ("+memory", "+cpu") if self.cpu else ("+memory",):
                (_TREE / "cgroup.subtree_control").write_text(controller)
                (self._roots[0] / "cgroup.subtree_control").write_text(controller)
        self.limit("probe", 1 << 30, 1000)
        self.remove("probe")

    def _sweep(self) -> None:
        """Remove the groups of nodes that were killed and never started again; one that has processes stays."""
        trees = [root.parent for root in self._roots]
        names = {folder.name for tree in trees for folder in tree.glob(f"{_PREFIX}*")} - {self._roots[0].name}
        for name in names:
            left = Limits(tuple(tree / name for tree in trees), self._version, self.cpu)
            try:
                left._held = _held(left._roots[0])
            except FileNotFoundError:
                log.debug("of %s only a part is left", name)
            except BlockingIOError:
                continue  # its node lives
            left.close()

    def clear(self) -> None:
        """Forget the groups of an earlier node; their processes have ended."""
        for root in self._roots:
            if root.is_dir():
                for folder in root.iterdir():
                    if folder.is_dir():
                        _remove(folder)

    def close(self) -> None:
        """Leave nothing behind."""
        self.clear()
        for root in self._roots:
            _remove(root)
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def limit(self, group: str, memory: int | None, cpu: int | None) -> None:
        """Make a group that may use so many bytes, and so many thousandths of a processor; None is any number."""
        for root in self._roots:
            (root / group).mkdir(parents=True, exist_ok=True)
        if memory is not None:
            name = "memory.limit_in_bytes" if self._version == 1 else "memory.max"
            (self._roots[0] / group / name).write_text(str(memory))
        if cpu is not None and self.cpu:
            quota = max(cpu * _PERIOD // 1000, 1000)  # the kernel takes no less
            if self._version == 1:
                (self._roots[1] / group / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (self._roots[1] / group / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (self._roots[0] / group / "cpu.max").write_text(f"{quota} {_PERIOD}")

    def join(self, group: str, pid: int) -> None:
        """Put a process, and everything it will start, into a group."""
        for root in self._roots:
            (root / group / "cgroup.procs").write_text(str(pid))

    def was_exceeded(self, group: str) -> bool:
        """Whether the kernel ended a process of the group for want of memory."""
        events = "memory.oom_control" if self._version == 1 else "memory.events"
        for line in (self._roots[0] / group / events).read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count) > 0
        return False

    def remove(self, group: str) -> None:
        """Forget a group whose processes have ended."""
        for root in self._roots:
            _remove(root / group)


def _made_and_held(folder: Path) -> int:
    """The lock of a folder that is made where it is missing, as a descriptor to close.

    Raises:
        OSError: It can't be made, or another node holds it.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            held = _held(folder)
            if folder.stat().st_ino == os.fstat(held).st_ino:
                return held
            os.close(held)
        except FileNotFoundError:
            log.debug("%s was swept away before it was held", folder)


def _held(folder: Path) -> int:
    """The lock of a folder, as a descriptor to close.

    Raises:
        FileNotFoundError: It is not there.
        BlockingIOError: Another node holds it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened


def _remove(folder: Path) -> None:
    try:
        os.rmdir(folder)
    except OSError as error:
        log.debug("cgroup %s stays: %s", folder, error)
