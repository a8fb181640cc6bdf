"""Items from data: the rows of a CSV or JSONL text, and sentences with row numbers for what is wrong with them. Pure.

Every value of a CSV is text, and an empty cell is the empty text: a column is there for every item or for none. Values
of JSONL keep their types.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from carryon_core.errors import SpecError
from carryon_core.overrides import RESERVED
from carryon_core.resolve import ITEMS_MOST
from carryon_core.spec import ItemsFrom

BYTES_MOST: Final = 64 * 1024 * 1024
"""Of one source: the operator holds it in memory while it is read."""
ID_LONGEST: Final = 128
_SHOWN: Final = 5
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

Params: TypeAlias = Mapping[str, Any]


def parse_rows(text: bytes, source: ItemsFrom) -> tuple[tuple[str, Params], ...]:
    """(id, params) of each row, in order.

    Lines that are blank, and rows of a CSV whose cells are all empty, are skipped. Row numbers in messages are those of
    the lines in the file, the header included; a row of several lines has the number of its first.

    Raises:
        SpecError: InvalidItems: something is wrong with the text as a whole or with some of its rows.
    """
    where = f"items.from ({described(source)})"
    if len(text) > BYTES_MOST:
        raise _invalid(f"{where} has {len(text)} bytes: at most {BYTES_MOST}; split it into several jobs")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _invalid(f"{where} is not UTF-8 (line {line}): save it as UTF-8") from None
    problems = _Problems()
    read = _csv if source.format == "csv" else _jsonl
    rows: list[tuple[str, Params]] = []
    lines: dict[str, int] = {}
    try:
        for line, item, params in read(decoded, source.id_column, problems):
            if len(rows) == ITEMS_MOST:
                raise _Unreadable(f"has more than {ITEMS_MOST} rows: split it, or set items.from.first")
            rows.append((item, params))
            _note_id(item, line, lines, problems)
            if len(rows) == source.first:
                break
    except _Unreadable as error:
        raise _invalid(f"{where} {error}") from None
    if problems:
        raise _invalid(f"{where}: {problems.sentence()}")
    if not rows:
        raise _invalid(f"{where} has no rows: add one for each item")
    return tuple(rows)


def described(source: ItemsFrom) -> str:
    """Where rows come from, for messages."""
    if source.config_map_key_ref is not None:
        return f"ConfigMap {source.config_map_key_ref.name}, key {source.config_map_key_ref.key}"
    return source.uri or ""


class _Unreadable(ValueError):
    """The text as a whole is no list of rows; goes on after the name of the source."""


@dataclass
class _Problems:
    """Lines with the same problem, in the order in which the problems were met.

    Attributes:
        rows: What is wrong, as in "row 3 {has no id}" -> its lines.
        same: Id -> lines that have it, where these are several.
    """

    rows: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    same: dict[str, list[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows or self.same)

    def note(self, line: int, one: str, many: str, remedy: str) -> None:
        """Line so-and-so "has no id", or several "have no id", and what to do."""
        self.rows.setdefault((one, many, remedy), []).append(line)

    def sentence(self) -> str:
        said = [
            f"{_listed('row', lines)} {one if len(lines) == 1 else many}: {remedy}"
            for (one, many, remedy), lines in self.rows.items()
        ]
        if self.same:
            groups = [f'{_listed("row", lines)} have the same id "{item}"' for item, lines in self.same.items()]
            said.append(f"{_joined(groups)}: give each row an id of its own")
        return "; ".join(said[:_SHOWN])


def _note_id(item: str, line: int, lines: dict[str, int], problems: _Problems) -> None:
    if not item.strip():
        return problems.note(line, "has no id", "have no id", "fill it in, or take the row out")
    if len(item) > ID_LONGEST:
        remedy = f"ids have at most {ID_LONGEST} characters"
        return problems.note(line, "has an id that is too long", "have ids that are too long", remedy)
    if _CONTROL.search(item):
        remedy = "take tabs and line breaks out"
        return problems.note(line, "has an id with control characters", "have ids with control characters", remedy)
    if item in lines:
        problems.same.setdefault(item, [lines[item]]).append(line)
    else:
        lines[item] = line
    return None


def _csv(text: str, id_column: str, problems: _Problems) -> Iterator[tuple[int, str, Params]]:
    # Strict: an unclosed quote would swallow all rows that follow.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records = _records(reader)
    _, header = next(records, (1, []))
    names = _header(header, id_column)
    width, at = len(names), names.index(id_column)
    for line, cells in records:
        if any(cells[width:]):
            one, many = "has more values than the header has names", "have more values than the header has names"
            problems.note(line, one, many, "put values with commas in quotes")
            continue
        cells = [*cells[:width], *[""] * (width - len(cells))]
        params = dict(zip(names, cells, strict=True))
        del params[id_column]
        yield line, cells[at].strip(), params


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the number of its first line."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _Unreadable(f"can't be read at row {line} ({error}): look for a quote that is not closed") from None
        if any(cells):
            yield line, cells


def _header(cells: Sequence[str], id_column: str) -> list[str]:
    names = [name.strip() for name in cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise _Unreadable("is empty: begin with a header line that names the columns")
    if id_column not in names:
        hint = "; values must be separated by commas" if len(names) == 1 and re.search("[;\t]", names[0]) else ""
        raise _Unreadable(
            f'has no column "{id_column}" for the ids, but: {", ".join(names)[:300]}; name one of these in'
            f" items.from.idColumn{hint}"
        )
    if "" in names:
        raise _Unreadable(f"has a column without a name ({names.index('') + 1} from the left): give it one")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise _Unreadable(f'has two columns named "{twice[0]}": rename one')
    for name in RESERVED:
        if name in names and name != id_column:
            raise _Unreadable(f"{_reserved(f'has a column named {name}', name)}")
    return names


def _reserved(what: str, name: str) -> str:
    return f"{what}, but templates use item.{name} for the item's own {name}: rename it, or make it items.from.idColumn"


def _jsonl(text: str, id_column: str, problems: _Problems) -> Iterator[tuple[int, str, Params]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_not_finite, parse_float=_finite)
            if "\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else _why(error)
            problems.note(number, f"is no JSON ({why})", f"are no JSON ({why})", "write one object a line")
            continue
        if not isinstance(row, dict):
            problems.note(number, "is no object", "are no objects", 'write rows as {"id": ..., ...}')
            continue
        params = {name: value for name, value in row.items() if name != id_column}
        if reserved := [name for name in RESERVED if name in params]:
            what, _, remedy = _reserved(f"a key {reserved[0]}", reserved[0]).partition(": ")
            problems.note(number, f"has {what}", f"have {what}", remedy)
            continue
        item = row.get(id_column)
        if item is not None and (isinstance(item, bool) or not isinstance(item, str | int)):
            what = "neither text nor a whole number"
            problems.note(number, f"has an id that is {what}", f"have ids that are {what}", "put it in quotes")
            continue
        yield number, "" if item is None else str(item), params


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "half a character"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _listed(noun: str, lines: Sequence[int]) -> str:
    return f"{noun}{'s' if len(lines) > 1 else ''} {_joined(map(str, lines))}"


def _joined(parts: Iterable[str]) -> str:
    """At most five of them: "a, b and c", "a, b, c, d, e and 12 more"."""
    every = list(parts)
    shown = every[:_SHOWN] if len(every) > _SHOWN else every[:-1]
    last = f"{len(every) - _SHOWN} more" if len(every) > _SHOWN else every[-1]
    return f"{', '.join(shown)} and {last}" if shown else last


def _invalid(message: str) -> SpecError:
    return SpecError("InvalidItems", message)
