"""Sets of indexes written as ranges, "0-8,11": how status names thousands of units in a few bytes.

The text form is canonical (sorted, disjoint, merged, two neighbours written as a range), so equal sets have equal
text and a status that did not change compares equal. The idea is that of `completedIndexes` in the Kubernetes Indexed
Job (KEP-2214).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, Self

_PART: Final = re.compile(r"(0|[1-9][0-9]{0,8})(?:-(0|[1-9][0-9]{0,8}))?\Z")


class IndexSet:
    """An immutable set of indexes, held as sorted, disjoint, non-adjacent inclusive intervals.

    Space and the cost of union are those of the intervals, not of the indexes; membership is a binary search.
    """

    __slots__ = ("_starts", "_stops")
    _starts: tuple[int, ...]
    _stops: tuple[int, ...]

    def __init__(self, indexes: Iterable[int] = ()) -> None:
        """Make a set of the given indexes, in any order, with or without repetitions.

        Raises:
            ValueError: An index is negative.
        """
        self._set((index, index) for index in sorted(set(indexes)))

    def _set(self, intervals: Iterable[tuple[int, int]]) -> None:
        starts: list[int] = []
        stops: list[int] = []
        for start, stop in intervals:
            if start < 0:
                raise ValueError(f"an index can't be negative: {start}")
            if stops and start <= stops[-1] + 1:
                stops[-1] = max(stops[-1], stop)
            else:
                starts.append(start)
                stops.append(stop)
        self._starts, self._stops = tuple(starts), tuple(stops)

    @classmethod
    def _of(cls, intervals: Iterable[tuple[int, int]]) -> Self:
        made = cls()
        made._set(sorted(intervals))
        return made

    @classmethod
    def span(cls, count: int) -> Self:
        """All indexes below `count`."""
        return cls._of([(0, count - 1)] if count > 0 else [])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "0-8,11"; the empty text is the empty set.

        Raises:
            ValueError: The text is not a list of ranges in ascending order.
        """
        intervals: list[tuple[int, int]] = []
        for part in text.split(",") if text else ():
            match = _PART.match(part)
            if match is None:
                raise ValueError(f'"{text}" is not an index set: write ranges such as "0-8,11"')
            start, stop = int(match[1]), int(match[2] or match[1])
            if stop < start or (intervals and start <= intervals[-1][1]):
                raise ValueError(f'"{text}" is not an index set: ranges must ascend and not overlap')
            intervals.append((start, stop))
        return cls._of(intervals)

    def __str__(self) -> str:
        return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in self.intervals())

    def __repr__(self) -> str:
        return f"IndexSet.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexSet) and self._starts == other._starts and self._stops == other._stops

    def __hash__(self) -> int:
        return hash((self._starts, self._stops))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        return sum(b - a + 1 for a, b in self.intervals())

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.intervals():
            yield from range(start, stop + 1)

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self._starts, index) - 1
        return at >= 0 and index <= self._stops[at]

    def __or__(self, other: IndexSet) -> IndexSet:
        return IndexSet._of([*self.intervals(), *other.intervals()])

    def __sub__(self, other: IndexSet) -> IndexSet:
        if not other:
            return self
        left: list[tuple[int, int]] = []
        holes = list(other.intervals())
        at = 0
        for start, stop in self.intervals():
            while at < len(holes) and holes[at][1] < start:
                at += 1
            hole = at
            while start <= stop and hole < len(holes) and holes[hole][0] <= stop:
                if holes[hole][0] > start:
                    left.append((start, holes[hole][0] - 1))
                start = holes[hole][1] + 1
                hole += 1
            if start <= stop:
                left.append((start, stop))
        return IndexSet._of(left)

    def __and__(self, other: IndexSet) -> IndexSet:
        return self - (self - other)

    def intervals(self) -> Iterator[tuple[int, int]]:
        """The inclusive intervals in ascending order."""
        return zip(self._starts, self._stops, strict=True)
