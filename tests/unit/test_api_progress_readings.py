"""What is made of a worker's answers, and which workers are asked at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carryon_api.artifacts import headers
from carryon_api.live.progress import Asker, as_json, first_reading, pace, parsed, reading
from carryon_api.records import PodSummary
from carryon_core.messages import Progress


def pod(ip: str = "10.0.0.7", *units: str, phase: str = "Running") -> PodSummary:
    return PodSummary("ns", "p", "uid", ip, "job", "clip", units or ("a",), 1, phase, 0.0, 1.0)


def said(item: str | None, step: int | None = None, seconds: float = 0.0) -> Progress:
    at = {"index": 3, "item": item, "step": step, "steps": 30, "phase": "generating", "seconds": seconds}
    told = {"stage": "clip", "attempt": 1, "units": 2, "finished": 0, "idleSeconds": 0.0}
    return Progress.model_validate({**told, "current": at if item is not None else None})


def test_the_pace_is_measured_by_the_workers_own_clock() -> None:
    found = reading(first_reading(pod()), said("a", 10, 20.0))
    assert pace(found) is None
    found = reading(found, said("a", 12, 21.0))
    assert pace(found) == 0.5
    assert pace(reading(found, said("a", 14, 23.0))) == 0.75


@pytest.mark.parametrize("next_", [said("b", 11, 30.0), said("a", 2, 30.0), said("a", None, 30.0)])
def test_the_pace_starts_over_with_a_unit_and_with_its_steps(next_: Progress) -> None:
    found = reading(first_reading(pod()), said("a", 10, 20.0))
    assert pace(reading(found, next_)) is None


def test_a_worker_that_does_not_answer_is_at_the_unit_it_was_at_without_step() -> None:
    found = reading(reading(first_reading(pod("10.0.0.7", "a", "b")), said("b", 10, 20.0)), None)
    once = as_json(found)
    assert once is not None
    assert once["step"] == 10, "one answer that comes late makes nothing flicker"
    assert reading(found, said("b", 11, 21.0)).missed == 0
    told = as_json(reading(found, None))
    assert told is not None
    assert (told["item"], told["phase"], told["step"]) == ("b", "running", None)


@pytest.mark.parametrize(
    "odd",
    [{"step": 10**30}, {"steps": -1}, {"index": 2**64}, {"seconds": "1e999"}, {"seconds": "NaN"}, {"section": 2**53}],
)
def test_no_number_that_a_pod_says_stops_us_from_telling_of_the_others(odd: dict[str, Any]) -> None:
    answer = said("a", 3).model_dump(mode="json", by_alias=True)
    assert as_json(reading(first_reading(pod()), parsed(json.dumps(answer).encode()))) is not None
    answer["current"] |= {name: "ODD" for name in odd}
    body = json.dumps(answer).replace('"ODD"', str(*odd.values()))
    with pytest.raises(ValueError, match=r"count|seconds"):
        parsed(body.encode())


def test_nothing_is_told_of_a_worker_before_it_was_asked_or_between_units() -> None:
    assert as_json(first_reading(pod())) is None
    assert as_json(reading(first_reading(pod("10.0.0.7", "a", "b")), None)) is None
    assert as_json(reading(first_reading(pod()), said(None))) is None


@pytest.mark.parametrize(
    ("ip", "loopback", "address"),
    [
        ("10.0.0.7", False, "http://10.0.0.7:8080/progress"),
        ("fd00::7", False, "http://[fd00::7]:8080/progress"),
        ("127.0.0.7", False, None),
        ("::1", False, None),
        ("::ffff:127.0.0.1", False, None),
        ("169.254.169.254", False, None),
        ("fe80::1", False, None),
        ("0.0.0.0", False, None),
        ("224.0.0.1", False, None),
        ("metadata.google.internal", False, None),
        ("10.0.0.7@evil", False, None),
        ("", False, None),
        ("127.3.4.5", True, "http://127.3.4.5:8080/progress"),
        ("10.0.0.7", True, None),
    ],
)
def test_only_addresses_that_pods_can_have_are_asked(ip: str, loopback: bool, address: str | None) -> None:
    assert Asker(loopback=loopback).address(pod(ip)) == address


def test_a_pod_that_does_not_run_or_shares_its_nodes_network_is_not_asked() -> None:
    assert Asker().address(pod(phase="Pending")) is None
    metadata = {"namespace": "ns", "name": "p", "uid": "u"}
    raw = {"metadata": metadata, "spec": {"hostNetwork": True}, "status": {"podIP": "10.0.0.1", "phase": "Running"}}
    assert PodSummary.of(raw).ip == ""


@pytest.mark.parametrize(
    ("told", "header"),
    [
        ("video/mp4", "video/mp4"),
        ("text/html; charset=latin-1", "text/html; charset=utf-8"),
        ("application/json", "application/json; charset=utf-8"),
        ("IMAGE/PNG", "image/png"),
        ("image/png\r\nSet-Cookie: a=b", headers.UNKNOWN),
        ("", headers.UNKNOWN),
        ("video", headers.UNKNOWN),
        ("*/*", headers.UNKNOWN),
    ],
)
def test_a_content_type_is_a_plain_one_or_unknown(told: str, header: str) -> None:
    assert headers.content_type(told) == header


@pytest.mark.parametrize(
    ("item", "name", "readable"),
    [
        ("dunes", "clip.mp4", "reel_clip_dunes.mp4"),
        ("dunes", "first.png", "reel_clip_dunes_first.png"),
        ("a/../b", "frames/1.png", "reel_clip_a-..-b_frames-1.png"),
        ("日本", "clip.mp4", "reel_clip_日本.mp4"),
        ("x" * 128, "y" * 200, f"reel_clip_{'x' * 128}_{'y' * 41}"),
        ("dunes", ".hidden", "reel_clip_dunes_.hidden"),
        ("dunes", "clip", "reel_clip_dunes"),
    ],
)
def test_a_downloaded_file_is_named_after_its_unit(item: str, name: str, readable: str) -> None:
    assert headers.readable_name("reel", "clip", item, name) == readable


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.mp4", 'attachment; filename="a.mp4"'),
        ('a"b\\c.mp4', "attachment; filename=\"a_b_c.mp4\"; filename*=UTF-8''a%22b%5Cc.mp4"),
        ("日.mp4", "attachment; filename=\"_.mp4\"; filename*=UTF-8''%E6%97%A5.mp4"),
        ("a\r\nb", "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
    ],
)
def test_a_name_can_not_break_out_of_its_header(name: str, header: str) -> None:
    assert headers.disposition(name, download=True) == header
