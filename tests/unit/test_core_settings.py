"""Settings as operator and API read them: flag before variable, and one sentence where a value can't work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import pytest

from carryon_core.messages import StoreConfig
from carryon_core.settings import Settings, count, default_store, folder, listed, rate, true_or_false

KNOWN = (
    ("--pods", "TEST_PODS", "pods at the same time; 4"),
    ("--eager", "TEST_EAGER", "true: does not wait; false"),
    ("--default-store", "TEST_STORE", "where artifacts go"),
    ("--default-store-endpoint", "TEST_STORE_ENDPOINT", "its endpoint"),
    ("--default-store-region", "TEST_STORE_REGION", "its region"),
)


def given(*arguments: str, **environ: str) -> Settings:
    return Settings("carryon-test", "Tests.", KNOWN, arguments, environ)


def refusal(said: pytest.CaptureFixture[str], call: Callable[[], object]) -> str:
    """The one sentence that the program ends with."""
    with pytest.raises(SystemExit) as ended:
        call()
    sentence = said.readouterr().err
    assert (ended.value.code, sentence.count("\n")) == (2, 1)
    return sentence


def test_a_flag_goes_before_its_variable_and_an_empty_one_counts_as_not_given() -> None:
    assert given(TEST_PODS="3").get("--pods", count, 4) == 3
    assert given("--pods", "2", TEST_PODS="3").get("--pods", count, 4) == 2
    assert given("--pods", "", TEST_PODS="3").get("--pods", count, 4) == 4
    assert given(TEST_PODS="").get("--pods", count, None) is None


def test_a_flag_that_is_true_or_false_may_stand_alone() -> None:
    assert given("--eager").get("--eager", true_or_false, False)
    assert given("--eager", "--pods", "2").get("--pods", count, 4) == 2
    assert not given("--eager", "false", TEST_EAGER="true").get("--eager", true_or_false, True)


def test_a_bad_value_is_one_sentence_with_flag_variable_and_value(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, lambda: given(TEST_PODS="many").get("--pods", count, 4))
    assert said == 'carryon-test: --pods (TEST_PODS) is "many": it must be a whole number of 1 or more\n'


def test_a_flag_that_nobody_knows_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--pod-count" in refusal(capsys, lambda: given("--pod-count", "3"))
    assert refusal(capsys, lambda: given().refuse("too many pods")) == "carryon-test: too many pods\n"


def test_the_help_names_every_flag_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        given("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for flag, variable, meaning in KNOWN:
        assert flag in text
        assert f"{meaning} [{variable}]" in text


def test_a_default_store_has_its_endpoint_and_region() -> None:
    assert default_store(given(TEST_STORE_ENDPOINT="https://minio.example")) is None
    assert default_store(given("--default-store", "file:///srv/out")) == StoreConfig(uri="file:///srv/out")
    told = given("--default-store", "s3://media/jobs/", TEST_STORE_ENDPOINT="https://minio", TEST_STORE_REGION="eu")
    assert default_store(told) == StoreConfig(uri="s3://media/jobs", endpoint="https://minio", region="eu")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (count, "1", 1),
        (rate, "0.5", 0.5),
        (true_or_false, "true", True),
        (true_or_false, "false", False),
        (folder, "/srv/out", PurePosixPath("/srv/out")),
        (listed, " studio, lab,,", ("studio", "lab")),
        (listed, ",", ()),
    ],
)
def test_a_text_is_read(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "must"),
    [
        *((count, text, "whole number of 1 or more") for text in ("0", "-1", "1.5", "one", "")),
        *((rate, text, "number above 0") for text in ("0", "-1", "nan", "inf", "fast")),
        *((true_or_false, text, "true or false") for text in ("yes", "True", "1")),
        *((folder, text, "absolute path") for text in ("out", "./out", "~")),
    ],
)
def test_a_text_that_cannot_be_read_says_what_it_must_be(read: Callable[[str], Any], text: str, must: str) -> None:
    with pytest.raises(ValueError, match=must):
        read(text)
