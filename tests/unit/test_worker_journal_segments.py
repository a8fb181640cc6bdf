"""A journal's files: what is written comes back, and nothing else is ever taken for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from carryon_core.messages import StoreConfig
from carryon_store import open_store
from carryon_worker.journal import chain, segments
from carryon_worker.journal.segments import ITEM_BYTES, Blob, Call, Header, Kind, Segment, SegmentError

FINGERPRINT = "f" * 64


@st.composite
def blobs(draw: st.DrawFn) -> Blob:
    dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = ITEM_BYTES[dtype]
    for side in shape:
        size *= side
    return Blob(dtype, shape, draw(st.binary(min_size=size, max_size=size)))


CALLS = st.lists(
    st.tuples(
        st.builds(
            Call,
            component=st.text(max_size=8),
            kind=st.sampled_from(Kind),
            inputs=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
            output=st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists, max_leaves=3),
            step=st.integers(0, 99),
            seconds=st.floats(0, 1e6),
        ),
        st.lists(blobs(), max_size=2),
    ),
    min_size=1,
    max_size=3,
)


def segment(
    number: int = 0, previous: str = "", first: int = 0, calls: int = 2, fingerprint: str = FINGERPRINT, mark: int = 0
) -> Segment:
    """A whole segment; another mark, other content."""
    made = [Call(component="unet", kind=Kind.KEPT, inputs={}, step=mark) for _ in range(calls)]
    header = Header(fingerprint=fingerprint, number=number, previous=previous, first=first, calls=made)
    content, _ = segments.encode(header, [[Blob("U8", (2,), bytes([mark, 1]))]] * calls)
    return segments.decode(content)


def links(*calls: int, mark: int = 0, after: Sequence[Segment] = ()) -> list[Segment]:
    """A chain of segments with so many calls each."""
    found = list(after)
    for each in calls:
        tip = found[-1] if found else None
        found.append(segment(len(found), tip.digest if tip else "", tip.end if tip else 0, each, mark=mark))
    return found


def levels(found: Sequence[Segment]) -> list[list[Segment]]:
    last = max((each.header.number for each in found), default=-1)
    return [[each for each in found if each.header.number == number] for number in range(last + 1)]


def encoded(calls: Sequence[tuple[Call, Sequence[Blob]]]) -> bytes:
    header = Header(fingerprint=FINGERPRINT, number=0, previous="", first=0, calls=[call for call, _ in calls])
    return segments.encode(header, [tensors for _, tensors in calls])[0]


@given(CALLS)
def test_what_is_written_comes_back(calls: list[tuple[Call, list[Blob]]]) -> None:
    content = encoded(calls)
    back = segments.decode(content)
    assert back.header.calls == [call for call, _ in calls]
    assert [[(each.dtype, each.shape, bytes(each.data)) for each in tensors] for tensors in back.blobs] == [
        [(each.dtype, each.shape, each.data) for each in tensors] for _, tensors in calls
    ]
    assert (back.size, back.end) == (len(content), len(calls))
    assert encoded(calls) == content


@given(CALLS, st.data())
def test_a_file_that_is_cut_off_is_none(calls: list[tuple[Call, list[Blob]]], data: st.DataObject) -> None:
    content = encoded(calls)
    with pytest.raises(SegmentError):
        segments.decode(content[: data.draw(st.integers(0, len(content) - 1))])


@settings(max_examples=300)
@given(CALLS, st.data())
def test_bits_that_turned_are_found_or_mean_nothing(calls: list[tuple[Call, list[Blob]]], data: st.DataObject) -> None:
    content = bytearray(encoded(calls))
    whole = segments.decode(bytes(content))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        back = segments.decode(bytes(content))
    except SegmentError:
        return
    # A bit of white space, for example.
    assert (back.header, back.digest) == (whole.header, whole.digest)
    assert [[bytes(each.data) for each in tensors] for tensors in back.blobs] == [
        [bytes(each.data) for each in tensors] for tensors in whole.blobs
    ]


@given(st.binary(max_size=200))
def test_no_other_file_is_a_segment(content: bytes) -> None:
    with pytest.raises(SegmentError):
        segments.decode(content)


@pytest.mark.parametrize("header", [b"[]", b"{}", b"1", b'{"__metadata__": 1}', b"[" * 100_000, b"\xff"])
def test_no_other_header_is_one(header: bytes) -> None:
    with pytest.raises(SegmentError):
        segments.decode(len(header).to_bytes(8, "little") + header)


def test_a_segment_of_another_format_is_told_apart() -> None:
    call = Call(component="unet", kind=Kind.AGAIN, inputs={})
    header = Header(format=segments.FORMAT + 1, fingerprint=FINGERPRINT, number=0, previous="", first=0, calls=[call])
    with pytest.raises(SegmentError, match=f"it has format {segments.FORMAT + 1}, this worker reads {segments.FORMAT}"):
        segments.decode(segments.encode(header, [[]])[0])


def test_a_tensor_whose_bytes_are_not_its_shape_is_refused_when_it_is_written() -> None:
    call = Call(component="unet", kind=Kind.KEPT, inputs={})
    header = Header(fingerprint=FINGERPRINT, number=0, previous="", first=0, calls=[call])
    with pytest.raises(ValueError, match=r"3 bytes are not F32 of shape \(1,\)"):
        segments.encode(header, [[Blob("F32", (1,), b"123")]])


def test_other_tools_can_read_it() -> None:
    numbers = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    data = bytes(numbers.numpy().tobytes())
    content = encoded([(Call(component="unet", kind=Kind.KEPT, inputs={}), [Blob("F32", (2, 3), data)])])
    assert torch.equal(load(content)["0.0"], numbers)


@given(st.lists(st.integers(1, 3), max_size=6), st.integers(0, 2**32))
def test_a_chain_is_found_in_whatever_order_it_lies(calls: list[int], seed: int) -> None:
    made = links(*calls)
    shuffled = random.Random(seed).sample(made, len(made))
    assert list(chain.longest(levels(shuffled), FINGERPRINT)) == made


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.data())
def test_a_chain_ends_before_a_segment_that_is_missing(calls: list[int], data: st.DataObject) -> None:
    made = links(*calls)
    gap = data.draw(st.integers(0, len(made) - 1))
    left = [each for each in made if each is not made[gap]]
    assert list(chain.longest(levels(left), FINGERPRINT)) == made[:gap]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.lists(st.integers(1, 3), max_size=4), st.data())
def test_of_chains_that_part_the_longest_counts(one: list[int], other: list[int], data: st.DataObject) -> None:
    made = links(*one)
    fork = links(*other, mark=1, after=made[: data.draw(st.integers(0, len(made)))])
    found = chain.longest(levels([*made, *(each for each in fork if each not in made)]), FINGERPRINT)
    assert list(found) in (made, fork)
    assert found[-1].end == max(made[-1].end, fork[-1].end if fork else 0)


def test_segments_of_another_worker_or_place_are_no_part_of_a_chain() -> None:
    (begin,) = links(2)
    strangers = [
        segment(1, begin.digest, 2, fingerprint="e" * 64),
        segment(1, "0" * 64, 2),
        segment(1, begin.digest, 3),
        segment(2, begin.digest, 2),
    ]
    for stranger in strangers:
        assert chain.longest([[begin], [stranger]], FINGERPRINT) == (begin,)
    assert chain.longest([[segment(fingerprint="e" * 64)]], FINGERPRINT) == ()
    assert chain.longest([], FINGERPRINT) == ()


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_file_that_is_no_segment_is_told_apart_on_disk_too(
    file_config: StoreConfig, tmp_path: Path, content: bytes
) -> None:
    store = open_store(file_config)
    store.put("a/000000.safetensors", content, content_type="application/octet-stream")
    with pytest.raises(SegmentError):
        chain.load(store, "a/000000.safetensors", tmp_path / "file")
