"""Quantities, as Kubernetes writes them."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_standalone.apiserver.quantities import canonical
from carryon_standalone.node.quantity import parse


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.5", "500m"),
        (0.5, "500m"),
        (1, "1"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("1.5e3", "1500"),
        ("12.50", "12500m"),
        ("0.0000000001", "1n"),
        ("-500m", "-500m"),
        ("0Mi", "0"),
        ("1E", "1E"),
        ("1e300", "9223372036854775807"),
        ("1e-300", "1e-9"),
    ],
)
def test_a_quantity_is_written_in_its_largest_whole_unit(text: str | float, written: str) -> None:
    assert canonical(text) == written


@pytest.mark.parametrize("text", ["1e999999999", "1GB", "abc", "", "1 Gi", "1i", "Gi"])
def test_what_is_no_quantity_is_refused_in_kubernetes_words(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        canonical(text)


@given(
    st.decimals(min_value=-(10**9), max_value=10**9, places=3),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "E2"]),
)
def test_the_form_means_the_same_and_stays_as_it_is(number: Decimal, suffix: str) -> None:
    written = canonical(f"{number:f}{suffix}")
    assert canonical(written) == written
    with localcontext(prec=100):
        difference = parse(written) - parse(f"{number:f}{suffix}")
    assert 0 <= difference < (1 if "i" in suffix else Decimal("1e-8"))
