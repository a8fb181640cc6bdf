"""Sizes as Kubernetes writes them: 1048576, "64Mi", "2G"."""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = r"^[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$"
_POWER: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def size(text: str) -> int:
    """Bytes in a size.

    Raises:
        ValueError: The text is no size.
    """
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f'"{text}" is not a size: write one such as 500M or 2Gi')
    digits = text.rstrip("kMGTKi")
    prefix, binary = text[len(digits) :].removesuffix("i"), text.endswith("i")
    base = 1024 if binary else 1000
    return int(digits) * int(base ** _POWER[prefix])
