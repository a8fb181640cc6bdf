"""Which part of a file is given, and how it is labelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_api.artifacts.byteranges import part_of

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("wanted", "status", "span", "content_range"),
    [
        (None, 200, (0, 100), ""),
        ("bytes=0-9", 206, (0, 10), "bytes 0-9/100"),
        ("bytes=90-", 206, (90, 10), "bytes 90-99/100"),
        ("bytes=-10", 206, (90, 10), "bytes 90-99/100"),
        ("bytes=-1000", 206, (0, 100), "bytes 0-99/100"),
        ("bytes=50-1000", 206, (50, 50), "bytes 50-99/100"),
        ("Bytes= 0-0 ", 206, (0, 1), "bytes 0-0/100"),
        ("bytes=100-", 416, (0, 0), "bytes */100"),
        ("bytes=-0", 416, (0, 0), "bytes */100"),
        ("bytes=999999999999999999-", 416, (0, 0), "bytes */100"),
        # What is not understood is ignored, as RFC 9110 has it: also several parts at once.
        ("bytes=0-9,20-29", 200, (0, 100), ""),
        ("bytes=9-0", 200, (0, 100), ""),
        ("bytes=-", 200, (0, 100), ""),
        ("bytes=a-b", 200, (0, 100), ""),
        ("items=0-9", 200, (0, 100), ""),
        ("bytes=٣-", 200, (0, 100), ""),
        ("", 200, (0, 100), ""),
    ],
)
def test_a_range_is_given_or_ignored_or_refused(
    wanted: str | None, status: int, span: tuple[int, int], content_range: str
) -> None:
    part = part_of(100, ETAG, wanted=wanted)
    assert (part.status, (part.offset, part.length), part.content_range) == (status, span, content_range)


def test_there_is_no_part_of_an_empty_file() -> None:
    assert part_of(0, ETAG).length == 0
    assert part_of(0, ETAG, wanted="bytes=0-").status == 416


@pytest.mark.parametrize(
    ("if_range", "status"),
    [(ETAG, 206), ('"other"', 200), ('W/"abc"', 200), ("Sat, 21 Nov 2026 08:00:00 GMT", 200)],
)
def test_a_part_is_given_only_of_the_file_the_client_has_the_rest_of(if_range: str, status: int) -> None:
    assert part_of(100, ETAG, wanted="bytes=0-9", if_range=if_range).status == status


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [(ETAG, 304), ('W/"abc"', 304), ('"x", "abc"', 304), ("*", 304), ('"x"', 200), ("", 200)],
)
def test_what_the_client_has_is_not_sent_again(if_none_match: str, status: int) -> None:
    assert part_of(100, ETAG, wanted=None, if_none_match=if_none_match).status == status


@given(st.integers(0, 50), st.text("bytes=0123456789-, ", max_size=20))
def test_a_part_always_lies_within_the_file(size: int, wanted: str) -> None:
    part = part_of(size, ETAG, wanted=wanted)
    assert 0 <= part.offset <= part.offset + part.length <= size
    assert part.status in (200, 206, 416)
