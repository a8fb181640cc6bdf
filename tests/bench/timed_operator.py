"""The operator as it is, but it writes down how long each reconcile took: python -m bench.timed_operator FILE ..."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Coroutine
from io import RawIOBase
from pathlib import Path
from typing import Any, Final

from carryon_operator.__main__ import main
from carryon_operator.reconcile import Reconciler

_SECONDS: Final = struct.Struct("<d")


def read(path: Path) -> list[float]:
    """Seconds of each reconcile so far."""
    content = path.read_bytes() if path.exists() else b""
    return [value for (value,) in _SECONDS.iter_unpack(content[: len(content) // 8 * 8])]


def _timed(
    reconcile: Callable[[Reconciler, str], Coroutine[Any, Any, float | None]], file: RawIOBase
) -> Callable[[Reconciler, str], Coroutine[Any, Any, float | None]]:
    async def timed(self: Reconciler, key: str) -> float | None:
        began = time.perf_counter()
        try:
            return await reconcile(self, key)
        finally:
            file.write(_SECONDS.pack(time.perf_counter() - began))

    return timed


if __name__ == "__main__":
    # Unbuffered: whoever is killed has told all the same.
    with Path(sys.argv.pop(1)).open("ab", buffering=0) as times:
        Reconciler.reconcile = _timed(Reconciler.reconcile, times)  # type: ignore[method-assign]
        main()
