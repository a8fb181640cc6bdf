"""What changed, newest state of each job once: a log compacted by job, which any number of pages read from anywhere.

A page is a position in it, not a queue. However slow it is, what waits for it is at most one state of each job, the
same bytes that all others get. Knows nothing of time and network. Idea: Kafka's compacted topics, and the cursor that
the API server's watch cache keeps for a watcher.

Versions are resourceVersions, which the API server counts up over a whole collection. So every replica understands the
position that another one gave out: the version up to which it had seen everything.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

TOMBSTONES: Final = 2_000
"""Deleted jobs that are remembered, for pages that have not heard of it."""

Visible = Callable[["Entry"], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """The newest state of one job.

    Attributes:
        number: Of the change, counted here.
        version: Up to which everything had been seen when it came.
        namespace: Of the job.
        name: Of the job.
        uid: Of the job.
        frame: The event as it is sent, but for its id.
        data: JSON of the job; empty where it is gone.
    """

    number: int
    version: int
    namespace: str
    name: str
    uid: str
    frame: bytes
    data: bytes

    @property
    def gone(self) -> bool:
        """It was deleted."""
        return not self.data


class Feed:
    """The newest state of every job, in the order of the changes.

    Attributes:
        head: Number of the newest change.
        version: Of the newest change; pages begin again from there.
        namespaces: How many jobs there are in each.
    """

    def __init__(self, tombstones: int = TOMBSTONES) -> None:
        """Begin empty: nothing is known of what was before.

        Args:
            tombstones: Deleted jobs that are remembered.
        """
        self.head = 0
        self.version = 0
        self.namespaces: Counter[str] = Counter()
        self._entries: dict[str, Entry] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._tombstones: deque[Entry] = deque()
        self._most = tombstones
        self._oldest = 0
        """Positions below it may lack a deletion that is no longer remembered."""
        self._since: int | None = None
        """The same for versions; None while nobody knows which deletions came before us."""

    def __len__(self) -> int:
        return sum(self.namespaces.values())

    def put(self, uid: str, namespace: str, name: str, version: int, frame: bytes, data: bytes) -> None:
        """A job is new, or has changed."""
        old = self._entries.pop(uid, None)
        if old is None or old.gone:
            self.namespaces[namespace] += 1
            self._uids[namespace, name] = uid
        self._enter(uid, namespace, name, version, frame, data)

    def remove(self, uid: str, version: int, frame: bytes) -> None:
        """A job is gone; one that nobody knows is nothing new.

        Args:
            uid: Of the job.
            version: Up to which everything had been seen: a deletion's own is not known.
            frame: The event as it is sent.
        """
        old = self._entries.get(uid)
        if old is None or old.gone:
            return
        del self._entries[uid]
        if self._uids[old.namespace, old.name] == uid:  # Else it was created again before we heard that it was deleted.
            del self._uids[old.namespace, old.name]
        self.namespaces[old.namespace] -= 1
        if not self.namespaces[old.namespace]:
            del self.namespaces[old.namespace]
        self._enter(uid, old.namespace, old.name, version, frame, b"")
        self._tombstones.append(self._entries[uid])
        while len(self._tombstones) > self._most:
            forgotten = self._tombstones.popleft()
            # One that could not be read for a while is dropped, and comes again: what stands there now is newer.
            if self._entries.get(forgotten.uid) is forgotten:
                del self._entries[forgotten.uid]
                self._oldest = forgotten.number
                self._since = None if self._since is None else max(self._since, forgotten.version + 1)

    def complete(self, version: int) -> None:
        """From this version on nothing was missed, so that positions of other replicas can be placed."""
        if self._since is None:
            self._since = version

    def place(self, version: int) -> int | None:
        """The position of a page that has seen everything up to a version; None where that can't be told."""
        if self._since is None or not self._since <= version <= self.version:
            return None
        # A deletion has the version of what was seen before it: those of just this version may be news.
        return next((entry.number for entry in self._backwards() if entry.version < version), self._oldest)

    def since(self, position: int, visible: Visible) -> Sequence[Entry] | None:
        """What changed after a position, oldest first; None where that is no longer known."""
        if position < self._oldest:
            return None
        found: list[Entry] = []
        for entry in self._backwards():
            if entry.number <= position:
                break
            if visible(entry):
                found.append(entry)
        found.reverse()
        return found

    def jobs(self, visible: Visible) -> list[Entry]:
        """The newest state of every job that is there."""
        return [entry for entry in self._entries.values() if entry.data and visible(entry)]

    def job(self, namespace: str, name: str) -> Entry | None:
        """The newest state of one job, if it is there."""
        uid = self._uids.get((namespace, name))
        return None if uid is None else self._entries[uid]

    def _enter(self, uid: str, namespace: str, name: str, version: int, frame: bytes, data: bytes) -> None:
        self.head += 1
        self.version = max(version, self.version)
        # At the end of the dict, which so is in the order of the changes.
        self._entries[uid] = Entry(self.head, self.version, namespace, name, uid, frame, data)

    def _backwards(self) -> Iterator[Entry]:
        return reversed(self._entries.values())
