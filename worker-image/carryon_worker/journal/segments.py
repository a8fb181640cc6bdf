"""One segment of a journal: some calls in a row with what they returned, in one file that is never written again.

The file is safetensors (https://huggingface.co/docs/safetensors, "Format"): eight bytes with the length of a JSON
header, the header, the tensors' bytes. Tensor j of the segment's call i is named `i.j`. In the header's `__metadata__`
stand `carryon`, our own header as JSON, and `sha256`, a digest over that text, the tensors' index and their bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, takewhile
from typing import Any, Final, TypeAlias

from pydantic import Field, JsonValue, ValidationError

from carryon_core.schema import Loose

FORMAT: Final = 2
"""Raised when an older worker could misread what a newer one writes; it is part of the worker fingerprint."""
ITEM_BYTES: Final[Mapping[str, int]] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
}
"""Bytes of one element by the name that safetensors has for its type."""
_LENGTH: Final = 8
_ALIGNED: Final = 8
_METADATA: Final = "__metadata__"

Bytes: TypeAlias = bytes | bytearray | memoryview


class SegmentError(ValueError):
    """A file that is no segment, or no longer the one that was written; the sentence says why."""


class Kind(StrEnum):
    """What replay does with a call."""

    KEPT = "kept"
    """It is answered from the journal."""
    AGAIN = "again"
    """It is computed again: what it returned, or did besides, can't be kept."""
    SECTION = "section"
    """It stands for all calls of a finished section, see `sections`."""


class Section(Loose):
    """What stands for the calls of a finished section."""

    calls: int = Field(ge=1, description="Calls of denoisers in it.")
    steps: int = Field(ge=1, description="Calls of the scheduler's step in it.")
    answers: dict[str, JsonValue] = Field(description="Component -> form of what it returned, without the values.")


class Call(Loose):
    """One call of a denoiser, or all calls of a finished section."""

    component: str = Field(description="Name of the component in the pipeline; of a section, that of its first call.")
    kind: Kind
    inputs: dict[str, str] = Field(
        description="Argument, as a path -> type, shape and checksum of what was passed; of a section, to its first"
        " call."
    )
    output: JsonValue = Field(
        default=None,
        description="What was returned, see `trees`; null if computed again; of a section, what its last step left.",
    )
    step: int = Field(
        default=0, description="Steps that the pipeline had ended before the call; of a section, by its end."
    )
    seconds: float = Field(
        default=0.0, description="Since the attempt's call before it began; 0 of its first; of a section, the sum."
    )
    section: Section | None = Field(default=None, description="Of a section only.")

    @property
    def count(self) -> int:
        """Calls that it stands for."""
        return self.section.calls if self.section else 1


class Header(Loose):
    """What a segment says about itself."""

    format: int = FORMAT
    fingerprint: str = Field(description="Of the worker that wrote it, 64 hex digits.")
    number: int = Field(ge=0, description="Position in the chain.")
    previous: str = Field(description='Digest of the segment before; "" of the first.')
    first: int = Field(ge=0, description="Number of the first call in it, among the unit's.")
    calls: list[Call] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Blob:
    """A tensor as bytes.

    Attributes:
        dtype: A key of `ITEM_BYTES`.
        shape: Of the stored tensor, in the order of its memory.
        data: Its elements, little-endian, without gaps.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that is whole.

    Attributes:
        header: What it says about itself.
        digest: Names its content, 64 hex digits.
        blobs: Of each call, in order.
        size: Bytes of the file.
        key: In the bucket; "" where it does not come from there.
    """

    header: Header
    digest: str
    blobs: tuple[tuple[Blob, ...], ...]
    size: int
    key: str = ""

    @property
    def end(self) -> int:
        """Number of the first call after it."""
        return self.header.first + sum(call.count for call in self.header.calls)

    @property
    def compacted(self) -> bool:
        """Whether it holds nothing but sections."""
        return all(call.section for call in self.header.calls)


def encode(header: Header, blobs: Sequence[Sequence[Blob]]) -> tuple[bytes, str]:
    """The file of a segment, and its digest.

    Args:
        header: Describes the calls.
        blobs: Of each call in it.

    Raises:
        ValueError: A blob's bytes are not what its type and shape say, or there are not as many calls.
    """
    index: dict[str, Any] = {}
    body: list[Bytes] = []
    end = 0
    for number, (_, tensors) in enumerate(zip(header.calls, blobs, strict=True)):
        for position, blob in enumerate(tensors):
            size = memoryview(blob.data).nbytes
            if size != _bytes(blob.dtype, blob.shape):
                raise ValueError(f"{size} bytes are not {blob.dtype} of shape {blob.shape}")
            offsets = [end, end + size]
            index[f"{number}.{position}"] = {"dtype": blob.dtype, "shape": [*blob.shape], "data_offsets": offsets}
            body.append(blob.data)
            end += size
    ours = header.model_dump_json(by_alias=True)
    digest = _digest(ours, index, body)
    text = json.dumps({_METADATA: {"carryon": ours, "sha256": digest}, **index}).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return b"".join([len(text).to_bytes(_LENGTH, "little"), text, *body]), digest


def decode(content: Bytes) -> Segment:
    """The segment in a file; its blobs are views into `content`.

    Raises:
        SegmentError: It is cut off, or anything in it is not as it was written.
    """
    view = memoryview(content)
    length = int.from_bytes(view[:_LENGTH], "little")
    if not 0 < length <= len(view) - _LENGTH:
        raise SegmentError("it is cut off")
    body = view[_LENGTH + length :]
    try:
        index = json.loads(bytes(view[_LENGTH : _LENGTH + length]))
        metadata = index.pop(_METADATA)
        ours, digest = str(metadata["carryon"]), str(metadata["sha256"])
        if _digest(ours, index, [body]) != digest:
            raise SegmentError("its content is not what its digest says")
        header = Header.model_validate_json(ours)
        if header.format != FORMAT:
            raise SegmentError(f"it has format {header.format}, this worker reads {FORMAT}")
        blobs = tuple(_blobs(number, index, body) for number in range(len(header.calls)))
    except SegmentError:
        raise
    except ValidationError as error:
        raise SegmentError(f"its header can't be read: {error.errors(include_url=False)[0]['msg']}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SegmentError(f"it can't be read: {error}") from None
    return Segment(header, digest, blobs, len(view))


def _blobs(call: int, index: Mapping[str, Any], body: memoryview) -> tuple[Blob, ...]:
    entries = map(index.__getitem__, takewhile(index.__contains__, (f"{call}.{position}" for position in count())))
    return tuple(Blob(each["dtype"], tuple(each["shape"]), body[slice(*each["data_offsets"])]) for each in entries)


def _digest(ours: str, index: Mapping[str, Any], body: Sequence[Bytes]) -> str:
    whole = hashlib.sha256(json.dumps([ours, index], sort_keys=True).encode())
    for part in body:
        whole.update(part)
    return whole.hexdigest()


def _bytes(dtype: str, shape: Sequence[int]) -> int:
    return ITEM_BYTES[dtype] * math.prod(shape)
