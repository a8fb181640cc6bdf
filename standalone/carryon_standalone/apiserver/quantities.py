"""The one way that Kubernetes writes a quantity, whatever way it was given (k8s.io/apimachinery, api/resource)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from typing import Final

from carryon_standalone.node.quantity import parse

PATTERN: Final = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
"""As Kubernetes names it to whoever breaks it; what it takes is narrower."""
_BINARY: Final = [(f"{letter}i", Decimal(1024) ** power) for power, letter in enumerate("KMGTPE", 1)]
_DECIMAL: Final = [(suffix, Decimal(1000) ** power) for power, suffix in enumerate(("n", "u", "m", "", *"kMGTPE"), -3)]
_EXPONENTS: Final = [(f"e{power}" if power else "", Decimal(10) ** power) for power in range(-9, 21, 3)]
_SMALLEST: Final = Decimal("1e-9")


def canonical(value: str | float) -> str:
    """A quantity in the largest unit that leaves a whole number; half a CPU is `500m`.

    Raises:
        ValueError: It is none.
    """
    text = str(value)
    try:
        number = parse(text)
    except ValueError:
        raise ValueError(f"quantities must match the regular expression '{PATTERN}'") from None
    number = (number / _SMALLEST).to_integral_value(ROUND_CEILING) * _SMALLEST
    if not number:
        return "0"
    if text.endswith("i") and abs(number) >= _BINARY[0][1]:
        return _in_units(number.to_integral_value(ROUND_CEILING), [("", Decimal(1)), *_BINARY])
    return _in_units(number, _EXPONENTS if re.search(r"[eE][+-]?\d", text) else _DECIMAL)


def _in_units(number: Decimal, units: Iterable[tuple[str, Decimal]]) -> str:
    suffix, unit = max((each for each in units if number % each[1] == 0), key=lambda each: each[1])
    return f"{(number / unit).to_integral_value():f}{suffix}"
