"""Takes out of texts what must not be passed on: known texts, pieces of them, and what looks like a key. Pure.

Known texts are found in the forms in which programs print them: as they are, escaped as in JSON, Python or a URL,
broken into lines anywhere, in capital letters or not. Short ones are found where they stand whole. Of longer ones also
pieces are found, because programs cut them: any `RUN` characters in a row.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, unquote_plus

REMOVED: Final = "[removed]"
SHORTEST: Final = 4
"""Characters of the shortest text that is looked for: shorter ones stand in everything."""
RUN: Final = 16
"""Characters in a row that a log and a text share by no accident."""
MOST: Final = 4 * 2**20
"""Characters of all texts that can be looked for."""
_GRAM: Final = 12
_GRAMS: Final = RUN - _GRAM + 1
_BITS: Final = 2**26
_SECRET_WORDS: Final = (
    "authorization|proxy-authorization|bearer|token(?!s)|secret|password|passwd|pwd|credential|signature|cookie"
    r"|api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key|signing[_-]?key"
)
# Bounded, because logs are written by whoever wrote the job: no text may take more than a moment.
_PATTERNS: Final = (
    re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL),
    # What follows a word for a secret, up to the end of the value; "Bearer" and "Basic" belong to it.
    re.compile(
        rf"""(?ix) (?: {_SECRET_WORDS} ) [\w.-]{{0,40}} ["'\\]{{0,8}} \s{{0,8}} [=:] \s{{0,8}} ["'\\]{{0,8}}
        (?: (?:bearer|basic|token) \s+ )? (?P<value> [^\s"'\\,;&)}}\]]+ )"""
    ),
    re.compile(r"(?i)\b(?:bearer|basic)\s+(?P<value>[A-Za-z0-9._~+/=-]{8,})"),
    re.compile(r"(?<=://)(?P<value>[^\s/@]+)(?=@)"),
    re.compile(r"(?i)\b[a-z][a-z0-9+.-]{0,20}://[^\s?#\"'<>]{0,2000}(?P<value>[?#][^\s\"'<>]*)"),
    re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b"),
    re.compile(
        r"\b(?:hf_|sk-|sk_|pk_|rk_|ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|glpat-|xox[abprs]-|AIza|whsec_)[\w-]{8,}"
    ),
    re.compile(r"\beyJ[\w-]+(?:\.[\w-]+){0,2}"),
    # Digests of images are no secrets, and say which worker it was.
    re.compile(r"(?<!sha256:)(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])"),
)
_AWS: Final = 40
"""Characters of a secret access key."""
_LONG: Final = re.compile(r"[A-Za-z0-9+/_=-]{24,}")


_ESCAPES: Final = re.compile(
    r"(?P<octets>(?:\\x[0-9a-fA-F]{2})+)|(?P<codes>(?:\\u[0-9a-fA-F]{4})+)|\\U(?P<code>[0-9a-fA-F]{8})|\\(?P<one>[nrtbf\"'\\/])"
)
_PERCENTS: Final = re.compile(r"(?P<octets>(?:%[0-9A-Fa-f]{2})+)|(?P<plus>\+)")
_ONE: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_ENCODED: Final = 512
"""Characters of the longest text that is looked for in base64 too: keys, not prompts."""


_ASSIGNED: Final = re.compile(r"-{0,2}[A-Za-z_][\w.-]*=(?P<value>.+)", re.DOTALL)
_ADDRESS: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:(?P<user>[^@]*)@)?[^/?#]*(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?", re.DOTALL
)
_STOPS: Final = " \t\r\n,.;:|"
_SEGMENT: Final = 8
"""Characters of a segment of an address that may be a key."""


class TooMany(Exception):
    """There are more texts than can be looked for."""


class Scrubber:
    """Takes texts, pieces of them and what looks like a key out of other texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Prepare to look for texts.

        Raises:
            TooMany: They are larger than `MOST` together.
        """
        self._short: set[str] = set()
        self._lengths: set[int] = set()
        self._heads: set[str] = set()
        self._grams = bytearray(_BITS // 8)
        seen: set[str] = set()
        size = 0
        for form in _forms(texts):
            folded = _folded(form)
            if len(folded) < SHORTEST or folded in seen:
                continue
            seen.add(folded)
            size += len(folded)
            if size > MOST:
                raise TooMany(f"more than {MOST} characters")
            self._learn(folded)

    def __call__(self, text: str) -> str:
        """The text, with `REMOVED` in the place of what must not be passed on."""
        spans = list(_lookalikes(text))
        for view in _views(text):
            found = (*self._known(view.text), *self._pieces(view.text))
            spans += [(view.begins[begin], view.ends[stop - 1]) for begin, stop in found]
        made, end = [], 0
        for begin, stop in _merged(spans):
            made += [text[end:begin], REMOVED]
            end = stop
        return "".join([*made, text[end:]])

    def all_of(self, value: Any) -> Any:
        """A JSON value with every text in it scrubbed, but for the names of fields."""
        match value:
            case str():
                return self(value)
            case list() | tuple():
                return [self.all_of(each) for each in value]
            case dict():
                return {key: self.all_of(each) for key, each in value.items()}
            case _:
                return value

    def _learn(self, folded: str) -> None:
        if len(folded) < RUN:
            self._short.add(folded)
            self._lengths.add(len(folded))
            self._heads.add(folded[:SHORTEST])
            return
        for at in range(len(folded) - _GRAM + 1):
            bit = hash(folded[at : at + _GRAM]) % _BITS
            self._grams[bit >> 3] |= 1 << (bit & 7)

    def _known(self, folded: str) -> Iterator[tuple[int, int]]:
        """Where short texts stand."""
        lengths = sorted(self._lengths, reverse=True)
        for at in range(len(folded) - SHORTEST + 1) if lengths else ():
            if folded[at : at + SHORTEST] in self._heads:
                for length in lengths:
                    if at + length <= len(folded) and folded[at : at + length] in self._short:
                        yield at, at + length
                        break

    def _pieces(self, folded: str) -> Iterator[tuple[int, int]]:
        """Where pieces of long texts stand.

        A table of bits takes a few grams for known that are not; that so many in a row are is next to impossible, and
        would only take out more.
        """
        run = 0
        for at in range(len(folded) - _GRAM + 1):
            bit = hash(folded[at : at + _GRAM]) % _BITS
            if self._grams[bit >> 3] >> (bit & 7) & 1:
                run += 1
                if run >= _GRAMS:
                    yield at - run + 1, at + _GRAM
            else:
                run = 0


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, but for the names of fields; where a text is JSON itself, those in it too."""
    match value:
        case str():
            yield value
            yield from _parts(value)
            if value[:1] in ("{", "["):
                try:
                    inner = json.loads(value)
                except ValueError:
                    return
                yield from texts_in(inner)
        case list() | tuple():
            for each in value:
                yield from texts_in(each)
        case dict():
            for each in value.values():
                yield from texts_in(each)


Part: TypeAlias = tuple[str, int, int]
"""What a part of a text stands for, where it begins and where it ends."""


@dataclass(frozen=True, slots=True)
class View:
    """A text as it can be read, and where each character of it stands in the original.

    Attributes:
        begins: For each character, where what it stands for begins.
        ends: For each character, where that ends.
    """

    text: str
    begins: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> View:
        """A text as it is."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    def reading(self, pattern: re.Pattern[str], meaning: Callable[[re.Match[str]], str]) -> View:
        """The view in which what matches is read as something else."""
        parts = ((meaning(found), *found.span()) for found in pattern.finditer(self.text))
        made: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        done = 0
        for content, begin, end in (*parts, ("", len(self.text), len(self.text))):
            made += [self.text[done:begin], content]
            begins += (
                [*self.begins[done:begin], *[self.begins[begin]] * len(content)] if content else self.begins[done:begin]
            )
            ends += [*self.ends[done:begin], *[self.ends[end - 1]] * len(content)] if content else self.ends[done:begin]
            done = end
        return View("".join(made), begins, ends)

    def folded(self) -> View:
        """The view as texts are compared: small letters, single blanks."""
        made: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        for each, begin, end in zip(self.text, self.begins, self.ends, strict=True):
            small = " " if each.isspace() else each.casefold()
            if small == " " and made and made[-1] == " ":
                ends[-1] = end
                continue
            # A few letters have small forms of several characters.
            for letter in small:
                made.append(letter)
                begins.append(begin)
                ends.append(end)
        return View("".join(made), begins, ends)


def _views(text: str) -> Iterator[View]:
    """The ways to read a text: as it is, and with escapes undone as in JSON, Python and URLs; JSON also in JSON."""
    view = View.of(text)
    yield view.folded()
    if "\\" in text:
        for octets in (_latin, _utf8):
            undone = view.reading(_ESCAPES, partial(_unescaped, octets=octets))
            yield undone.folded()
            if "\\" in undone.text:
                yield undone.reading(_ESCAPES, partial(_unescaped, octets=octets)).folded()
    if "%" in text or "+" in text:
        for plus in ("+", " "):
            yield view.reading(_PERCENTS, partial(_unquoted, plus=plus)).folded()


def _unescaped(found: re.Match[str], octets: Callable[[bytes], str]) -> str:
    """What an escape stands for."""
    if found["octets"]:
        return octets(bytes(int(each, 16) for each in found["octets"].split("\\x")[1:]))
    if found["codes"]:
        units = b"".join(int(each, 16).to_bytes(2, "big") for each in found["codes"].split("\\u")[1:])
        return units.decode("utf-16-be", "replace")
    if found["code"]:
        return chr(code) if (code := int(found["code"], 16)) <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
    return _ONE.get(found["one"], found["one"])


def _unquoted(found: re.Match[str], plus: str) -> str:
    return plus if found["plus"] else unquote(found["octets"], errors="replace")


def _latin(octets: bytes) -> str:
    return octets.decode("latin-1")


def _utf8(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _parts(text: str) -> Iterator[str]:
    """What may be printed without the rest of a text: values of assignments, credentials and parameters of addresses.

    Of the path of an address long segments only: services have keys there, and everybody has words such as `images`.
    """
    if assigned := _ASSIGNED.fullmatch(text):
        yield assigned["value"]
    if address := _ADDRESS.fullmatch(text):
        parts = [
            *(address["user"] or "").split(":", 1),
            *(value for each in re.split("[&;]", address["query"] or "") for value in each.split("=", 1)[1:]),
            *(each for each in (address["path"] or "").split("/") if len(each) >= _SEGMENT),
        ]
        for part in parts:
            yield part
            yield unquote_plus(part)


def _forms(texts: Iterable[str]) -> Iterator[str]:
    """What to look for: texts whole, by their lines, and templates by what stands between their expressions."""
    for text in texts:
        pieces = [text, *text.splitlines(), *re.split(r"\{\{.{0,500}?\}\}|\{%.{0,500}?%\}", text, flags=re.DOTALL)]
        stripped = (form for each in pieces for form in (each.strip(), each.strip(_STOPS)))
        for piece in dict.fromkeys(stripped):
            if len(piece) < SHORTEST:
                continue
            yield piece
            yield unicodedata.normalize("NFC", piece)
            yield unicodedata.normalize("NFD", piece)
            if len(piece) <= _ENCODED and not re.search(r"\s", piece):
                octets = piece.encode("utf-8", "surrogatepass")
                yield base64.b64encode(octets).decode().rstrip("=")
                yield base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _folded(text: str) -> str:
    """A text as `View.folded` has it, without the places; letter by letter, for a sigma depends on its neighbours."""
    return " ".join("".join(map(str.casefold, text)).split())


def _lookalikes(text: str) -> Iterator[tuple[int, int]]:
    """Where something stands that looks like a key."""
    for pattern in _PATTERNS:
        for found in pattern.finditer(text):
            yield found.span("value" if "value" in pattern.groupindex else 0)
    for found in _LONG.finditer(text):
        if _random(found[0]):
            yield found.span()


def _random(word: str) -> bool:
    """Whether a long word looks drawn by lot: it has capitals, small letters and digits, and these in no order."""
    kinds = ["A" if each.isupper() else "a" if each.islower() else "0" for each in word]
    if not {"A", "a", "0"} <= set(kinds):
        return False
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(word) == _AWS or sum(each.isdigit() for each in word) >= 3 or 2 * changes >= len(word)


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans in order, those that touch made one."""
    begin = stop = -1
    for start, end in sorted(spans):
        if start <= stop:
            stop = max(stop, end)
            continue
        if begin >= 0:
            yield begin, stop
        begin, stop = start, end
    if begin >= 0:
        yield begin, stop
