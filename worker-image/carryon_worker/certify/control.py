"""The negative control: a journal that is whole, but holds other numbers than the denoiser returned."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carryon_store import Store
from carryon_worker.journal import chain, segments
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.segments import Blob, Kind

_TYPE = "application/octet-stream"
_FLOATS = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


def perturb(store: Store, prefix: str, kept: Chain) -> None:
    """Change what the last call that replay answers has returned, and let the segment be whole.

    What follows its segment, if anything, no longer fits and is not read.

    Args:
        store: Bucket that the journal is in.
        prefix: Of the journal.
        kept: The journal, one call of which at least is answered.
    """
    number = max(n for n, segment in enumerate(kept) if any(call.kind is Kind.KEPT for call in segment.header.calls))
    segment = kept[number]
    last = max(n for n, call in enumerate(segment.header.calls) if call.kind is Kind.KEPT)
    blobs = [[other(blob) for blob in each] if n == last else each for n, each in enumerate(segment.blobs)]
    content, _ = segments.encode(segment.header, blobs)
    for info in list(store.list(prefix)):
        position = chain.number_of(info.key.removeprefix(prefix).partition("/")[2])
        if position == number:
            store.put(info.key, content, content_type=_TYPE)


def other(blob: Blob) -> Blob:
    """A tensor of the same form whose numbers are others, but finite where they were."""
    changed: npt.NDArray[Any]
    octets = np.frombuffer(blob.data, dtype=np.uint8).copy()
    if blob.dtype == "BF16":
        # The upper half of a float32.
        wide = (octets.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        changed = ((0.5 - wide).view(np.uint32) >> 16).astype(np.uint16)
    elif blob.dtype in _FLOATS:
        changed = (0.5 - octets.view(_FLOATS[blob.dtype])).astype(_FLOATS[blob.dtype])
    else:
        return Blob(blob.dtype, blob.shape, (octets ^ 1).tobytes())
    return Blob(blob.dtype, blob.shape, changed.tobytes())
