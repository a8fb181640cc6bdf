"""Items from data: what a CSV or JSONL text is read as, and which row is wrong if it can't be."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.errors import SpecError
from carryon_core.resolve import ITEMS_MOST
from carryon_core.rows import BYTES_MOST, parse_rows
from carryon_core.spec import ItemsFrom


def source(form: str = "csv", **fields: Any) -> ItemsFrom:
    return ItemsFrom.model_validate({"uri": "s3://bucket/creators.csv", "format": form, **fields})


def rows(text: str | bytes, form: str = "csv", **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    given = text if isinstance(text, bytes) else text.encode()
    return [(item, dict(params)) for item, params in parse_rows(given, source(form, **fields))]


def refusal(text: str | bytes, form: str = "csv", **fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        rows(text, form, **fields)
    assert caught.value.reason == "InvalidItems"
    start = "items.from (s3://bucket/creators.csv)"
    assert caught.value.message.startswith(start)
    return caught.value.message.removeprefix(start).lstrip(": ")


def test_each_row_of_a_csv_is_an_item_whose_values_are_text() -> None:
    text = 'id,prompt,steps\ndunes,"sand, at ""dawn""\nand dusk",7\nsea,,\n'
    assert rows(text) == [
        ("dunes", {"prompt": 'sand, at "dawn"\nand dusk', "steps": "7"}),
        ("sea", {"prompt": "", "steps": ""}),
    ]


def test_a_csv_from_a_spreadsheet_is_read_with_its_mark_its_line_ends_and_its_empty_rows() -> None:
    text = "\ufeffid, prompt ,,\r\ndunes , sand,,\r\n,,,\r\n\r\nsea\r\n"
    assert rows(text) == [("dunes", {"prompt": " sand"}), ("sea", {"prompt": ""})]


def test_another_column_may_hold_the_ids() -> None:
    assert rows("prompt,handle\nsand,@dunes\n", idColumn="handle") == [("@dunes", {"prompt": "sand"})]


def test_each_line_of_jsonl_is_an_item_whose_values_keep_their_types() -> None:
    text = '{"id": "a\u2028b", "size": [1, 2.5], "on": true}\r\n\n  \n{"id": 7, "photo": {"file": "s3://b/x.png"}}'
    assert rows(text, "jsonl") == [
        ("a\u2028b", {"size": [1, 2.5], "on": True}),
        ("7", {"photo": {"file": "s3://b/x.png"}}),
    ]


def test_only_the_first_rows_are_taken_if_asked() -> None:
    text = "id\na\n\nb\nc\nc\n"
    assert [item for item, _ in rows(text, first=2)] == ["a", "b"]
    assert [item for item, _ in rows('{"id":1}\nnonsense', "jsonl", first=1)] == ["1"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "id,p\ndunes,1\nsea,\ndunes,2\n",
            'rows 2 and 4 have the same id "dunes": give each row an id of its own',
        ),
        (
            'id,p\na,"1\n2"\na,2\nb,\nb,\nb,\n',
            'rows 2 and 4 have the same id "a" and rows 5, 6 and 7 have the same id "b": give each row an id of its'
            " own",
        ),
        ("id,p\n,sand\n", "row 2 has no id: fill it in, or take the row out"),
        ("id,p\n , x\na,\n,y\n", "rows 2 and 4 have no id: fill it in, or take the row out"),
        (
            "id,p\n" + ",x\n" * 17,
            "rows 2, 3, 4, 5, 6 and 12 more have no id: fill it in, or take the row out",
        ),
        (f"id\n{'x' * 129}\n", "row 2 has an id that is too long: ids have at most 128 characters"),
        ("id\na\x07b\n", "row 2 has an id with control characters: take tabs and line breaks out"),
        (
            "id,p\na,sand, sea\n",
            "row 2 has more values than the header has names: put values with commas in quotes",
        ),
        (
            "id,p\na,\na,\n,x\n",
            'row 4 has no id: fill it in, or take the row out; rows 2 and 3 have the same id "a": give each row an id'
            " of its own",
        ),
        ("", "is empty: begin with a header line that names the columns"),
        ("\n\n", "is empty: begin with a header line that names the columns"),
        ("id,p\n", "has no rows: add one for each item"),
        (
            "handle,p\na,b\n",
            'has no column "id" for the ids, but: handle, p; name one of these in items.from.idColumn',
        ),
        (
            "id;p\na;b\n",
            'has no column "id" for the ids, but: id;p; name one of these in items.from.idColumn; values must be'
            " separated by commas",
        ),
        ("id,,p\na,b,c\n", "has a column without a name (2 from the left): give it one"),
        ("id,p,p\na,b,c\n", 'has two columns named "p": rename one'),
        (
            "id,index\na,b\n",
            "has a column named index, but templates use item.index for the item's own index: rename it, or make it"
            " items.from.idColumn",
        ),
        (
            'id,p\na,"b\nc,d\n',
            "can't be read at row 2 (unexpected end of data): look for a quote that is not closed",
        ),
        (b"id\na\n\xff\xfe\n", "is not UTF-8 (line 3): save it as UTF-8"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said_with_row_numbers(text: str | bytes, sentence: str) -> None:
    assert refusal(text) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"id":1}\n\n{"id":"1"}', 'rows 1 and 3 have the same id "1": give each row an id of its own'),
        (
            '{"id":1}\n{"p":2}\n{"id":""}\n{"id":null}',
            "rows 2, 3 and 4 have no id: fill it in, or take the row out",
        ),
        ('{"id":1}\n[1]\n"x"', 'rows 2 and 3 are no objects: write rows as {"id": ..., ...}'),
        ('{"id":1}\n{"id":2', "row 2 is no JSON (Expecting ',' delimiter): write one object a line"),
        ('{"id":1,"x":NaN}', "row 1 is no JSON (NaN is no number): write one object a line"),
        ('{"id":1,"x":1e999}', "row 1 is no JSON (a number is too large): write one object a line"),
        ('{"id":1,"x":"\\ud800"}', "row 1 is no JSON (half a character): write one object a line"),
        ('{"id":1,"x":' + "[" * 100_000 + "}", "row 1 is no JSON (nested too deep): write one object a line"),
        (
            '{"id":true}\n{"id":1.5}\n{"id":[]}',
            "rows 1, 2 and 3 have ids that are neither text nor a whole number: put it in quotes",
        ),
        (
            '{"id":1,"index":2}',
            "row 1 has a key index, but templates use item.index for the item's own index: rename it, or make it"
            " items.from.idColumn",
        ),
    ],
)
def test_what_is_wrong_with_jsonl_is_said_with_row_numbers(text: str, sentence: str) -> None:
    assert refusal(text, "jsonl") == sentence


def test_a_config_map_is_named_in_messages() -> None:
    given = ItemsFrom.model_validate({"configMapKeyRef": {"name": "topics", "key": "a.csv"}, "format": "csv"})
    with pytest.raises(SpecError, match=r"^items\.from \(ConfigMap topics, key a\.csv\) has no rows"):
        parse_rows(b"id\n", given)


def test_a_hundred_thousand_rows_are_read_and_one_more_is_refused() -> None:
    text = "id,prompt\n" + "".join(f"{n},a portrait of number {n}\n" for n in range(ITEMS_MOST))
    began = time.monotonic()
    assert len(rows(text)) == ITEMS_MOST
    assert time.monotonic() - began < 10
    assert refusal(text + "one more,\n") == "has more than 100000 rows: split it, or set items.from.first"
    assert len(rows(text + "one more,\n", first=10)) == 10


def test_a_source_that_would_fill_the_memory_is_not_read() -> None:
    assert refusal(b" " * (BYTES_MOST + 1)).startswith(f"has {BYTES_MOST + 1} bytes: at most")


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(lambda t: t == t.strip())


@given(st.dictionaries(ids, st.tuples(cells, cells), min_size=1, max_size=8))
def test_whatever_a_csv_writer_wrote_reads_back(table: dict[str, tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("id", "a", "b"), *((item, *two) for item, two in table.items())])
    assert rows(text.getvalue()) == [(item, {"a": a, "b": b}) for item, (a, b) in table.items()]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), cells),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(cells, inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(ids, values, min_size=1, max_size=6), st.booleans())
def test_whatever_a_json_writer_wrote_reads_back(table: dict[str, Any], ascii_only: bool) -> None:
    text = "\n".join(json.dumps({"id": item, "x": x}, ensure_ascii=ascii_only) for item, x in table.items())
    assert rows(text, "jsonl") == [(item, {"x": x}) for item, x in table.items()]


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: f"id,p\n{t}".encode("utf-8", "replace"))))
def test_whatever_the_bytes_there_are_rows_or_a_sentence(text: bytes) -> None:
    for form in ("csv", "jsonl"):
        made: tuple[Any, ...] = ()
        # Anything but a SpecError would be a traceback for the user.
        with suppress(SpecError):
            made = parse_rows(text, source(form))
        assert len({item for item, _ in made}) == len(made)
