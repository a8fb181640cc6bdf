"""Index sets against Python's own sets."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carryon_core.ranges import IndexSet

indexes = st.sets(st.one_of(st.integers(0, 40), st.integers(0, 10**9 - 1)), max_size=40)
CANONICAL = re.compile(r"([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?")


@given(indexes)
@example(set())
@example({0})
@example({0, 1})
@example({0, 2})
def test_a_set_survives_its_text(some: set[int]) -> None:
    made = IndexSet(some)
    assert IndexSet.parse(str(made)) == made
    assert list(made) == sorted(some)
    assert len(made) == len(some)
    assert bool(made) == bool(some)


@given(indexes)
def test_the_text_is_canonical_so_that_equal_sets_have_equal_text(some: set[int]) -> None:
    made = IndexSet(some)
    text = str(made)
    assert CANONICAL.fullmatch(text)
    assert text == str(IndexSet(reversed(sorted(some))))
    assert text == str(IndexSet.parse(",".join(map(str, sorted(some)))))
    intervals = list(made.intervals())
    assert all(a <= b for a, b in intervals)
    # Neither overlapping nor adjacent: 0-1,2 would be a second text for 0-2.
    assert all(left[1] + 1 < right[0] for left, right in pairwise(intervals))


@given(indexes, indexes)
@example({1, 2, 3, 4, 5}, {2, 4})
@example({5}, {0, 1, 2, 3, 4, 5, 6})
def test_union_difference_and_intersection_are_those_of_sets(left: set[int], right: set[int]) -> None:
    a, b = IndexSet(left), IndexSet(right)
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert set(a & b) == left & right
    assert str(a | b) == str(IndexSet(left | right))
    assert str(a - b) == str(IndexSet(left - right))
    assert (a == b) == (left == right)
    assert a != b or hash(a) == hash(b)


@given(indexes, st.integers(-2, 45))
def test_membership_is_that_of_sets(some: set[int], index: int) -> None:
    assert (index in IndexSet(some)) == (index in some)


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (2, "0-1"), (100_000, "0-99999")], ids=["none", "one", "two", "many"]
)
def test_a_span_is_all_indexes_below_a_count(count: int, text: str) -> None:
    assert str(IndexSet.span(count)) == text
    assert len(IndexSet.span(count)) == count


def test_what_others_wrote_less_well_reads_as_the_same_set() -> None:
    assert str(IndexSet.parse("0-8,9,10-10")) == "0-10"
    assert str(IndexSet.parse("3-3,5")) == "3,5"


@pytest.mark.parametrize(
    "text",
    [
        *("a", "-1", "1-", "-", ",", "1,", ",1", "1,,2", "2-1", "2,1", "1,1", "0-3,2-5", "01", "+1", "1 ", " 1", "1\n"),
        *("1-2-3", "0x1", "1.0", "\u0661", "1234567890", "1\u20132"),
    ],
)
def test_wrong_texts_are_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not an index set") as caught:
        IndexSet.parse(text)
    assert f'"{text}"' in str(caught.value)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be negative: -1"):
        IndexSet([3, -1])


def test_alternating_units_of_a_large_job_fit_the_bound_of_status() -> None:
    text = str(IndexSet(range(0, 100_000, 2)))
    assert len(text) < 300_000
    assert len(IndexSet.parse(text)) == 50_000
