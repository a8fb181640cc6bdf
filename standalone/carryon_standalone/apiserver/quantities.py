"""The one way that Kubernetes writes a quantity, whatever way it was given (k8s.io/apimachinery, api/resource)."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal, localcontext
from typing import Final

from carryon_standalone.node.quantity import parse

PATTERN: Final = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
"""As Kubernetes names it to whoever breaks it; what it takes is narrower."""
_ONE: Final = 10**9
"""Everything is counted in billionths, below which Kubernetes rounds up."""
_MOST: Final = Decimal(2**63 - 1)
"""Larger ones count as this."""
_BINARY: Final = [("", _ONE), *((f"{letter}i", _ONE * 1024**power) for power, letter in enumerate("KMGTPE", 1))]
_DECIMAL: Final = [(suffix, 1000**power) for power, suffix in enumerate(("n", "u", "m", "", *"kMGTPE"))]
_EXPONENTS: Final = [(f"e{power - 9}" if power != 9 else "", 10**power) for power in range(0, 30, 3)]
_PRECISE: Final = Context(prec=200)


def canonical(value: str | float) -> str:
    """A quantity in the largest unit that leaves a whole number; half a CPU is `500m`.

    Raises:
        ValueError: It is none.
    """
    text = str(value)
    try:
        with localcontext(_PRECISE):
            number: Decimal = min(max(parse(text), -_MOST), _MOST)
            billionths = math.ceil(number * _ONE)
    except (ValueError, ArithmeticError):
        raise ValueError(f"quantities must match the regular expression '{PATTERN}'") from None
    if not billionths:
        return "0"
    if text.endswith("i") and abs(billionths) >= 1024 * _ONE:
        return _in_units(-(-billionths // _ONE) * _ONE, _BINARY)
    return _in_units(billionths, _EXPONENTS if re.search(r"[eE][+-]?\d", text) else _DECIMAL)


def _in_units(billionths: int, units: list[tuple[str, int]]) -> str:
    suffix, unit = next(each for each in reversed(units) if billionths % each[1] == 0)
    return f"{billionths // unit}{suffix}"
