"""Names for finished files that people can read, and that every file system takes: stage, item id, artifact. Pure.

`clip/dunes.mp4` where a unit made one file, `frames/dunes/first.png` where it made several, `reel/reel.mp4` of a stage
that gathers. An id or a name that no file may have, or that differs from another in case only, is spelled as far as
that goes and ends in `~` and digits of its SHA-256, so no two files ever get one name, whatever else is finished later.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from carryon_core.done import Artifact

_DIGITS: Final = 12
_LONGEST: Final = 120
"""Bytes of an id or a name: with suffix and digits well below the 255 of file systems."""
_SUFFIX_LONGEST: Final = 16
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*~]')
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""What Windows takes for devices, with any suffix."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A unit that made something.

    Attributes:
        item: Its item id; "" where the stage gathers.
        prefix: Where it lies in the bucket.
    """

    stage: str
    item: str
    prefix: str
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class Readable:
    """A finished file and its name.

    Attributes:
        path: Relative, with slashes.
        key: In the bucket.
    """

    path: str
    key: str
    artifact: Artifact


def named(units: Iterable[Finished], ids: Sequence[str]) -> list[Readable]:
    """The files of these units, in order.

    Args:
        units: What is finished.
        ids: Of all items of the job, finished or not: names must not change when more is finished.
    """
    items = segments(ids)
    made: list[tuple[Finished, Artifact, str, str]] = []
    for unit in units:
        own = segments([each.name for each in unit.artifacts])
        for artifact in unit.artifacts:
            name = own[artifact.name]
            if not unit.item:
                path = f"{unit.stage}/{name}"
            elif len(unit.artifacts) == 1:
                path = f"{unit.stage}/{items[unit.item]}{_suffix(name)}"
            else:
                path = f"{unit.stage}/{items[unit.item]}/{name}"
            made.append((unit, artifact, path, name))
    # A file "a.mp4" and a folder of that name, of an item that is called so, are the one clash that ids do not show.
    files = Counter(_folded(path) for unit, _, path, _ in made)
    folders = {_folded(path.rpartition("/")[0]) for _, _, path, _ in made if path.count("/") > 1}
    return [
        Readable(
            _marked(path, unit.item) if files[_folded(path)] > 1 or _folded(path) in folders else path,
            unit.prefix + artifact.key,
            artifact,
        )
        for unit, artifact, path, _ in made
    ]


def segments(texts: Iterable[str]) -> Mapping[str, str]:
    """Text -> a name that any file system takes, of those that differ in more than case."""
    spelled = {text: _spelled(text) for text in texts}
    often = Counter(_folded(name) for name in spelled.values())
    return {
        text: name if name == text and often[_folded(name)] == 1 else _marked(name, text)
        for text, name in spelled.items()
    }


def _spelled(text: str) -> str:
    name = unicodedata.normalize("NFC", text)
    name = "".join("_" if unicodedata.category(character)[0] == "C" else character for character in name)
    name = _FORBIDDEN.sub("_", name)
    if len(name.encode()) > _LONGEST:
        name = name.encode()[:_LONGEST].decode(errors="ignore")
    name = name.strip(" ").rstrip(" .")
    name = f"_{name[1:]}" if name.startswith(".") else name
    return f"_{name}" if not name or _DEVICES.fullmatch(name) else name


def _marked(name: str, text: str) -> str:
    """A name with digits of what it stands for, before its suffix."""
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    suffix = _suffix(name)
    return f"{name.removesuffix(suffix)}~{digits}{suffix}"


def _suffix(name: str) -> str:
    """The end of a name from its last dot on, such as ".mp4"; "" where that is no suffix."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix}" if stem and dot and 0 < len(suffix) <= _SUFFIX_LONGEST else ""


def _folded(path: str) -> str:
    """What two paths have in common that some file systems take for one."""
    return unicodedata.normalize("NFC", path.casefold())
