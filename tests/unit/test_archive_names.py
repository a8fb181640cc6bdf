"""Names of downloaded files: people can read them, every file system takes them, and no two are alike."""

from __future__ import annotations

import string
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.done import Artifact
from carryon_jobs.archive.readable import Finished, named, segments

HOSTILE = ["..", ".", "../../etc/passwd", "/etc/passwd", "C:\\x", "a\\b", "CON", "nul.txt", "COM1", "a.", "a ", " a"]
HOSTILE += [
    "\u202egnp.exe",
    "a\u0000b",
    "~",
    "-rf",
    ".hidden",
    "é" * 200,
    "x" * 250,
    "a\u0301",
    "\u00e1",
    "A",
    "a",
    "ß",
    "ss",
]


def artifact(name: str) -> Artifact:
    return Artifact(name=name, key=f"{name}.key", size=1, sha256="0" * 64)


def unit(stage: str, item: str, *names: str) -> Finished:
    return Finished(stage, item, f"ns/job/{stage}/{item}/", tuple(artifact(name) for name in names))


def paths(*units: Finished, ids: list[str] | None = None) -> list[str]:
    every = ids if ids is not None else list(dict.fromkeys(each.item for each in units if each.item))
    return [each.path for each in named(units, every)]


def test_a_file_is_named_by_its_item_and_several_lie_in_a_folder_of_it() -> None:
    assert paths(unit("clip", "dunes", "clip.mp4")) == ["clip/dunes.mp4"]
    assert paths(unit("clip", "7", "clip")) == ["clip/7"]
    assert paths(unit("frames", "dunes", "first.png", "last.png")) == [
        "frames/dunes/first.png",
        "frames/dunes/last.png",
    ]
    assert paths(unit("reel", "", "reel.mp4", "poster.png")) == ["reel/reel.mp4", "reel/poster.png"]
    assert paths(unit("clip", "tag der offenen tür 🎬", "clip.mp4")) == ["clip/tag der offenen tür 🎬.mp4"]


def test_ids_that_differ_in_case_only_are_told_apart_also_while_one_of_them_is_not_finished() -> None:
    alone = paths(unit("clip", "Dunes", "clip.mp4"), ids=["Dunes", "dunes"])
    both = paths(unit("clip", "Dunes", "clip.mp4"), unit("clip", "dunes", "clip.mp4"))
    assert alone == both[:1]
    assert both[0].casefold() != both[1].casefold()
    assert all(path.startswith("clip/") and path.endswith(".mp4") and "unes~" in path for path in both)


def test_a_file_and_a_folder_of_one_name_are_told_apart() -> None:
    made = paths(unit("clip", "a", "x.mp4"), unit("clip", "a.mp4", "one.png", "two.png"))
    assert made[0].startswith("clip/a~")
    assert made[1:] == ["clip/a.mp4/one.png", "clip/a.mp4/two.png"]


@pytest.mark.parametrize("item", HOSTILE)
def test_an_id_that_no_file_may_have_is_spelled_as_far_as_that_goes(item: str) -> None:
    (path,) = paths(unit("clip", item, "clip.mp4"))
    _check(path)


texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(min_size=1, max_size=60),
    st.text(string.ascii_letters + "./\\~ ", min_size=1, max_size=8),
)


@given(st.dictionaries(texts, st.lists(texts, min_size=1, max_size=4, unique=True), min_size=1, max_size=12))
def test_whatever_they_are_called_no_two_files_meet_and_none_leaves_its_folder(units: dict[str, list[str]]) -> None:
    finished = [unit("clip", item, *names) for item, names in units.items()]
    made = paths(*finished)
    for path in made:
        _check(path)
    folded = [unicodedata.normalize("NFC", path.casefold()) for path in made]
    assert len(set(folded)) == len(folded)
    folders = {str(parent) for path in folded for parent in PurePosixPath(path).parents}
    assert not folders & set(folded)
    assert paths(*finished) == made


@given(st.lists(texts, unique=True, max_size=12), texts)
def test_a_name_does_not_change_when_more_is_finished(ids: list[str], item: str) -> None:
    every = list(dict.fromkeys([*ids, item]))
    assert segments(every)[item] == segments(reversed(every))[item]


def _check(path: str) -> None:
    parts = path.split("/")
    assert 2 <= len(parts) <= 3
    for part in parts:
        assert part not in ("", ".", "..")
        assert len(part.encode()) <= 255
        assert not set(part) & set('<>:"\\|?*')
        assert all(unicodedata.category(character)[0] != "C" for character in part)
        assert part == part.rstrip(" .")
        assert not part.startswith((".", " "))
        assert not PureWindowsPath(part).is_reserved(), part
