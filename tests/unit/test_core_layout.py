"""The layout of the bucket, and durations: small texts that many rely on."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carryon_core import durations, layout

SHA = "3fa9c0d1b2e4" + "0" * 52
awkward = st.text(alphabet=st.sampled_from("./~%aÄ☃\U0001f600 \\?#&+-_2E7e"), min_size=1, max_size=128)
ids = st.one_of(st.text(min_size=1, max_size=128), awkward)


@given(ids)
@example(".")
@example("..")
@example("...")
@example("~")
@example("/")
@example("a/../b")
@example("\U0001f600" * 128)
@example("☃" * 128)
def test_an_encoded_id_is_one_safe_segment(item: str) -> None:
    encoded = layout.encode_id(item)
    assert 0 < len(encoded.encode()) <= 217
    assert encoded not in (".", "..")
    assert re.fullmatch(r"[A-Za-z0-9_.%~-]+", encoded)
    # "~" stands only where a long id was cut.
    assert ("~" in encoded) == (len(encoded) == 217)


@given(ids, ids)
@example(".", "%2E")
@example("..", "%2E%2E")
@example("~", "%7E")
@example("a/b", "a%2Fb")
@example("\U0001f600" * 128, "\U0001f600" * 127 + "\U0001f601")
@example("é", "e\u0301")
def test_no_two_ids_share_a_segment(left: str, right: str) -> None:
    assert (layout.encode_id(left) == layout.encode_id(right)) == (left == right)


@given(ids)
def test_an_id_that_was_not_cut_can_be_read_back(item: str) -> None:
    encoded = layout.encode_id(item)
    assert "~" in encoded or unquote(encoded) == item


def test_an_id_can_not_forge_the_mark_of_a_cut_one() -> None:
    long = "\U0001f600" * 128
    assert layout.encode_id(layout.encode_id(long)) != layout.encode_id(long)


@pytest.mark.parametrize(
    ("item", "encoded"),
    [("dunes", "dunes"), ("a b", "a%20b"), (".", "%2E"), ("..", "%2E%2E"), (".hidden", ".hidden"), ("ä", "%C3%A4"),
     ("~x", "%7Ex"), ("_items", "_items")],
)  # fmt: skip
def test_encoded_ids_are_what_they_were(item: str, encoded: str) -> None:
    assert layout.encode_id(item) == encoded


def test_keys_are_what_they_were() -> None:
    prefix = layout.unit_prefix("studio", "reel-42", "clip", "a/b", "0123456789abcdef" + "f" * 48)
    assert prefix == "studio/reel-42/clip/a%2Fb/0123456789abcdef/"
    assert layout.items_key("studio", "reel-42", "d") == "studio/reel-42/_items/d.jsonl"
    assert layout.assignment_key("studio", "reel-42", "d") == "studio/reel-42/_assignments/d.json"
    assert layout.stage_prefix("studio", "reel-42", "clip") == "studio/reel-42/clip/"


def test_the_longest_key_fits_an_s3_object() -> None:
    prefix = layout.unit_prefix("n" * 63, "j" * 40, "s" * 20, "\U0001f600" * 128, "f" * 64)
    assert len(f"{prefix}{layout.artifact_name('x' * 200 + '.mp4', SHA)}".encode()) < 1024


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("clip.mp4", "clip.3fa9c0d1b2e4.mp4"),
        ("clip.tar.gz", "clip.tar.3fa9c0d1b2e4.gz"),
        ("clip", "clip.3fa9c0d1b2e4"),
        (".env", ".env.3fa9c0d1b2e4"),
        ("frames/0.png", "frames_0.3fa9c0d1b2e4.png"),
        ("../done.json", ".._done.3fa9c0d1b2e4.json"),
        ("done.json", "done.3fa9c0d1b2e4.json"),
    ],
)
def test_an_artifact_carries_its_content_in_its_name(name: str, named: str) -> None:
    assert layout.artifact_name(name, SHA) == named


@given(st.text(min_size=1))
def test_an_artifact_never_leaves_its_folder(name: str) -> None:
    named = layout.artifact_name(name, SHA)
    assert "/" not in named
    assert named not in (".", "..", layout.DONE)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("0s", 0), ("1m1s1ms", 61.001)],
)
def test_a_duration_is_its_seconds(text: str, seconds: float) -> None:
    assert durations.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "5 m", "-5m", "5M", "1.5h", "5m\n", "\n5m", "5min", "1w", "1234567s", "1s1s1s1s1s1s", "\u0665m"],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: write one such as 30s, 5m or 1h30m"):
        durations.seconds(text)
