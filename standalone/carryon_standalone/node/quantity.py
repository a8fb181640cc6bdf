"""Kubernetes quantities: "500m", "2Gi", "1e3"."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3), "M": Decimal(10**6),
    "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
}  # fmt: skip
_BINARY: Final = {f"{prefix}i": Decimal(1024 ** (power + 1)) for power, prefix in enumerate("KMGTPE")}
_FACTOR: Final = _DECIMAL | _BINARY


def parse(value: str | int | float) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: The text is no quantity.
    """
    match = _FORM.fullmatch(str(value))
    if match is None:
        raise ValueError(f'"{value}" is not a quantity: write one such as 500m, 2 or 4Gi')
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _FACTOR.get(suffix or "", Decimal(1))


def whole(value: str | int | float) -> int:
    """A quantity in whole units, rounded up as Kubernetes does."""
    return math.ceil(parse(value))


def thousandths(value: str | int | float) -> int:
    """A quantity in thousandths (milli-CPUs), rounded up as Kubernetes does."""
    return math.ceil(parse(value) * 1000)
