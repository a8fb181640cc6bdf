"""Fingerprints: the same work has the same one on every machine, for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carryon_core.fingerprint import CONTRACT, OpenFingerprint, canonical, digest, unit_fingerprint, unit_seed

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@given(values)
def test_canonical_text_is_json_of_the_same_value_without_nulls(value: Any) -> None:
    assert json.loads(canonical(value)) == without_nulls(value)


@given(values)
def test_canonical_text_of_what_was_read_back_is_the_same(value: Any) -> None:
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(values)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert digest(shuffled(value)) == digest(value)


@given(st.integers(-(2**53), 2**53))
@example(7)
@example(0)
def test_an_integral_float_is_its_integer_as_the_api_server_stores_it(number: int) -> None:
    assert canonical(float(number)) == canonical(number) == str(number)
    assert digest({"guidance": float(number)}) == digest({"guidance": number})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": 7.0}, '{"a":7,"b":1}'),
        ({"a": None, "b": {"c": None}}, '{"b":{}}'),
        ([None, 1], "[null,1]"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e300, str(int(1e300))),
        (True, "true"),
        ({"ü": "é\n"}, '{"ü":"é\\n"}'),
        ((1, 2), "[1,2]"),
    ],
)
def test_canonical_text_is_what_it_was(value: Any, text: str) -> None:
    assert canonical(value) == text


def test_true_is_not_one_and_text_is_not_a_number() -> None:
    assert len({digest(True), digest(1), digest("1"), digest("true"), digest([1]), digest({"1": 1})}) == 6


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="numbers must be finite"):
        canonical({"params": [{"strength": number}]})


COMMAND = {"command": {"args": ["make", "--frames", "7"]}}


def test_fingerprints_of_today_are_those_of_ever() -> None:
    """A change here makes every finished unit of every user again: raise CONTRACT on purpose instead."""
    assert CONTRACT == 1
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    plain = unit_fingerprint(COMMAND, 0, None, {})
    assert plain == "9d770c3a32a445c36c38861483f9db7c09ebd5f49ce906bfeb2fee981a5344aa"
    diffusers: dict[str, Any] = {
        "diffusers": {"model": "s3://models/wan", "params": {"prompt": "a dune", "guidance_scale": 7.0, "eta": None}}
    }
    whole = unit_fingerprint(diffusers, 42, "b", {"image": plain})
    assert whole == "98a2df64623b575cd1301afea941b672acf6318e5a6aeff7126f1a4f8e38a52a"


def test_seeds_of_today_are_those_of_ever() -> None:
    assert unit_seed(0, "clip", "dunes") == 4908236578515748230
    assert unit_seed(2**53 - 1, "image", "ä/..") == 4630569475436432167


def test_everything_that_makes_a_unit_is_in_its_fingerprint() -> None:
    base = unit_fingerprint(COMMAND, 1, None, {"image": "a" * 64})
    others = {
        unit_fingerprint({"command": {"args": ["make", "--frames", "8"]}}, 1, None, {"image": "a" * 64}),
        unit_fingerprint(COMMAND, 2, None, {"image": "a" * 64}),
        unit_fingerprint(COMMAND, 1, "x", {"image": "a" * 64}),
        unit_fingerprint(COMMAND, 1, None, {"image": "b" * 64}),
        unit_fingerprint(COMMAND, 1, None, {"picture": "a" * 64}),
        unit_fingerprint(COMMAND, 1, None, {}),
    }
    assert len({base, *others}) == 7


def test_a_field_added_with_a_null_default_makes_nothing_again() -> None:
    grown = {"command": {**COMMAND["command"], "shell": None}}
    assert unit_fingerprint(grown, 0, None, {}) == unit_fingerprint(COMMAND, 0, None, {})


@given(st.integers(0, 2**53 - 1), st.text(), st.text())
def test_a_seed_fits_every_generator(seed: int, stage: str, item: str) -> None:
    drawn = unit_seed(seed, stage, item)
    assert 0 <= drawn < 2**63
    assert drawn == unit_seed(seed, stage, item)


def test_units_draw_different_seeds() -> None:
    drawn = {unit_seed(seed, stage, str(item)) for seed in (0, 1) for stage in ("a", "b") for item in range(500)}
    assert len(drawn) == 2_000


texts = st.text(max_size=6)


@given(
    st.dictionaries(st.text(), values, max_size=3),
    st.integers(0, 2**63 - 1),
    st.none() | texts,
    st.none() | st.tuples(texts, texts),
    st.dictionaries(texts, texts | st.lists(texts, max_size=3), max_size=3),
)
def test_a_fingerprint_that_was_left_open_closes_to_the_same(
    generate: Any, seed: int, revision: str | None, unit: tuple[str, str] | None, upstream: Any
) -> None:
    whole = unit_fingerprint(generate, seed, revision, upstream, unit)
    left_open = OpenFingerprint(canonical(generate), seed, revision, unit)
    assert left_open.close(upstream) == whole
    # It can be closed again, with something else.
    assert left_open.close({"x": "y"}) == unit_fingerprint(generate, seed, revision, {"x": "y"}, unit)
