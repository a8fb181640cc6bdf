"""What must not be passed on is found in whatever form a program printed it, and what helps stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_jobs import scrubbing
from carryon_jobs.scrubbing import REMOVED, RUN, Scrubber, TooMany

PROMPT = 'A slow pan über golden dunes\nat sunset, "cinematic" 😀 and so on'

PRINTED: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "json": json.dumps,
    "json with letters": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps({"body": json.dumps({"prompt": text})}),
    "python": repr,
    "octets": lambda text: repr(text.encode()),
    "url": quote,
    "form": quote_plus,
    "capitals": str.upper,
    "wrapped": lambda text: text.replace(" ", "\n    "),
}
# Letters that no word of ours is made of.
LETTERS = st.sampled_from("qxzjvQXZJVäßλжΣİ \"\\\n\t/%+'{}<>&😀")
TEXTS = st.text(LETTERS, min_size=6, max_size=60).filter(lambda text: len("".join(text.split())) >= 6)


@pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED)
def test_a_prompt_is_found_in_every_form_that_programs_print(printed: Callable[[str], str]) -> None:
    cleaned = Scrubber([PROMPT])(f"before {printed(PROMPT)} after")
    assert REMOVED in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    for word in ("slow", "dunes", "sunset", "cinematic"):
        assert word not in cleaned.lower()


@given(TEXTS, st.sampled_from(sorted(PRINTED)), TEXTS)
def test_no_text_is_left_in_whatever_form_it_was_printed(text: str, form: str, other: str) -> None:
    printed = PRINTED[form](text)
    cleaned = Scrubber([text, other])(f"at 12:01 {printed} and {PRINTED[form](other)} done")
    for each in (text.strip(), other.strip(), PRINTED[form](text.strip())):
        assert each not in cleaned
    assert cleaned.startswith("at 12:01 ")
    assert cleaned.endswith(" done")


@given(st.text(LETTERS, min_size=40, max_size=80), st.integers(0, 20))
def test_a_piece_of_a_text_is_found_too(text: str, begin: int) -> None:
    text = " ".join(text.split())
    piece = text[begin : begin + RUN].strip()
    if len(piece) == RUN:
        assert piece not in Scrubber([text])(f"prompt: {piece}... (cut)")


def test_a_template_is_found_around_its_values() -> None:
    scrub = Scrubber(["An oil painting of {{ item.subject }} by a well known master"])
    assert "painting" not in scrub("rendered: An oil painting of X by a well known master")


def test_short_texts_are_found_whole_and_shorter_ones_are_not_looked_for() -> None:
    scrub = Scrubber(["hush", "cat", "no"])
    assert scrub("Hush: cat says no") == f"{REMOVED}: cat says no"


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "hf_abcdefghijklmnop",
        "sk-proj-abcdefgh12345678",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "vDEUQRRprCjPFruI79V1szDgG_NfmVov_wWqCZZpNDE",
    ],
)
def test_what_looks_like_a_key_is_taken_out(secret: str) -> None:
    assert secret not in Scrubber([])(f"using {secret} now")


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("AWS_SECRET_ACCESS_KEY=short next", f"AWS_SECRET_ACCESS_KEY={REMOVED} next"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {REMOVED}"),
        ('{"api_key": "abc", "n": 1}', f'{{"api_key": "{REMOVED}", "n": 1}}'),
        ("password: hunter2", f"password: {REMOVED}"),
        ("GET https://me:pw@host/a/b?sig=1&x=2 200", f"GET https://{REMOVED}@host/a/b{REMOVED} 200"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nok", f"{REMOVED}\nok"),
        ("-----BEGIN RSA PRIVATE KEY-----\ncut off", REMOVED),
    ],
)
def test_what_is_called_a_secret_is_taken_out(line: str, left: str) -> None:
    assert Scrubber([])(line) == left


@pytest.mark.parametrize(
    "line",
    [
        "HunyuanVideo15ImageToVideoPipeline: CUDA out of memory, tried to allocate 2.50 GiB",
        "pod 3fa9c0d1-b2e4-4f00-9abc-3fa9c0d1b2e4 of reel-42-3fa9c0d1b2-1 exited with 137",
        f"image sha256:{'0123456789abcdef' * 4}",
        "step 12/30, 1.25 s a step; tokens: 77; at 2026-11-21T23:37:10Z",
        'Traceback (most recent call last): File "/usr/lib/python3.11/runpy.py", line 198',
    ],
)
def test_what_helps_stays(line: str) -> None:
    assert Scrubber([PROMPT])(line) == line


def test_texts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "MOST", 100)
    with pytest.raises(TooMany):
        Scrubber(f"a view of dune {number}" for number in range(10))


def test_json_keeps_its_form() -> None:
    value = {"hush": ["hush", 1, None, True, {"a": "say hush"}]}
    assert Scrubber(["hush"]).all_of(value) == {"hush": [REMOVED, 1, None, True, {"a": f"say {REMOVED}"}]}


@pytest.mark.parametrize(
    "piece", ["token", "a.", "a://", "://@", "{{", "\\\\u", "%e", "-----BEGIN A-----", "eyJ.", "0" * 31 + "z", "=: "]
)
def test_no_log_takes_more_than_a_moment(piece: str) -> None:
    scrub = Scrubber([PROMPT])
    began = time.process_time()
    scrub((piece * 65536)[:65536])
    Scrubber([(piece * 16384)[:16384]])
    # Measured: 0.1 to 0.6 s. What grows with the square of the length takes minutes.
    assert time.process_time() - began < 10
