"""The zip of an archive: what is written is read back, by us and by others; documents survive their forms."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryon_jobs.archive import documents, members, writing
from carryon_jobs.archive.documents import job_document, parse_job
from carryon_jobs.archive.errors import BadArchive
from carryon_jobs.archive.members import HalfDone, Manifest, Origin, StageSummary
from carryon_jobs.archive.previewing import preview
from carryon_jobs.archive.reading import ZipReader
from carryon_jobs.archive.writing import ZipWriter

A100 = "NVIDIA A100-SXM4-80GB, 8.0, 108 SM"


def written(contents: dict[str, tuple[bytes, bool]]) -> bytes:
    zipped, made = ZipWriter(), bytearray()
    for name, (content, whole) in contents.items():
        if whole:
            made += b"".join(zipped.document(name, content))
        else:
            made += b"".join(zipped.stream(name, len(content), [content[:7], content[7:]]))
    made += b"".join(zipped.contents(members.CONTENTS))
    made += b"".join(zipped.end())
    return bytes(made)


def read(content: bytes) -> dict[str, bytes]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        reader = ZipReader(file.fileno())
        return {each.name: b"".join(reader.read(each)) for each in reader.members()}


names = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/\\:"), min_size=1, max_size=20
    ).map(lambda text: f"x{text}"),
    max_size=6,
    unique=True,
)


@given(names, st.data())
@settings(max_examples=40)
def test_what_is_written_is_read_back_by_us_and_by_others(found: list[str], data: st.DataObject) -> None:
    contents = {
        name: (data.draw(st.binary(max_size=200)) * data.draw(st.integers(0, 50)), data.draw(st.booleans()))
        for name in found
    }
    made = written(contents)
    ours = read(made)
    told = [json.loads(line) for line in ours.pop(members.CONTENTS).splitlines()]
    assert ours == {name: content for name, (content, _) in contents.items()}
    assert [(line["name"], line["size"]) for line in told] == [(name, len(content)) for name, content in ours.items()]
    with zipfile.ZipFile(io.BytesIO(made)) as zipped:
        assert {name: zipped.read(name) for name in found} == ours


def test_numbers_that_have_no_room_in_32_bits_stand_in_fields_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit lowered: a sparse file of 4 GiB takes a minute to sum up."""
    monkeypatch.setattr(writing, "HUGE", 1000)
    monkeypatch.setattr(writing, "MANY", 3)
    contents = {f"x{number}": (os.urandom(900 + 200 * number), False) for number in range(4)}
    zipped, made = ZipWriter(), bytearray()
    for name, (content, _) in contents.items():
        made += b"".join(zipped.stream(name, len(content), [content]))
    made += b"".join(zipped.end())
    assert writing.END64_MARK in made
    assert {name: content for name, content in read(bytes(made)).items()} == {n: c for n, (c, _) in contents.items()}


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8")),
        st.sampled_from(["Off", "no", "1e3", "0x10", "2026-01-01", "~", "null", "12:30", "&a", "*a", "!x", "=", "<<"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(st.characters(codec="utf-8")), inner)),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), values, max_size=5))
@settings(max_examples=60)
def test_a_job_comes_out_of_its_document_as_it_went_in(params: dict[str, Any]) -> None:
    shared = {"same": [1, 2]}
    raw = {"metadata": {"name": "reel"}, "spec": {"params": params, "a": shared, "b": shared}}
    assert parse_job(job_document(raw))["spec"] == raw["spec"]


def test_what_belongs_to_one_cluster_and_whom_to_notify_stay_behind() -> None:
    raw = {
        "metadata": {
            "name": "reel",
            "namespace": "studio",
            "uid": "1",
            "resourceVersion": "7",
            "finalizers": ["x"],
            "ownerReferences": [{}],
            "managedFields": [{}],
            "labels": {"a": "b"},
            "annotations": {
                "carryon.dev/retry-units": "clip/7",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                "note": "kept",
            },
        },
        "spec": {"seed": 1, "notify": [{"url": "https://chat.example/secret"}]},
        "status": {"phase": "Running"},
    }
    made = parse_job(job_document(raw))
    assert made["metadata"] == {
        "name": "reel",
        "namespace": "studio",
        "labels": {"a": "b"},
        "annotations": {"note": "kept"},
    }
    assert made["spec"] == {"seed": 1}
    assert "status" not in made
    assert documents.LEFT_OUT == ("notify",)


def test_a_text_that_is_no_job_is_refused() -> None:
    with pytest.raises(BadArchive, match="holds no GenerationJob"):
        parse_job(b"[]")


def half(item: str, step: int | None = 12, steps: int | None = 30, device: str = A100) -> HalfDone:
    return HalfDone(stage="clip", item=item, unit=f"clip/{item}/x", step=step, steps=steps, device=device)


SAID: list[tuple[list[HalfDone], int, set[str] | None, str]] = [
    ([], 0, None, "9 of 15 done"),
    ([half("9")], 1, None, "9 of 15 done, clip 9 at step 12/30"),
    ([half("9")], 1, {"NVIDIA-A100-SXM4-80GB-SHARED"}, "9 of 15 done, clip 9 at step 12/30"),
    ([half("9", steps=None)], 1, None, "9 of 15 done, clip 9 at step 12"),
    ([half("9", step=None, device="")], 1, set(), "9 of 15 done, clip 9 goes on from its checkpoint"),
    (
        [half("9")],
        1,
        {"NVIDIA-H100-80GB-HBM3"},
        "9 of 15 done, clip 9 at step 12/30; journal not usable on this GPU: computed on NVIDIA A100-SXM4-80GB, so what"
        " it holds is computed again",
    ),
    (
        [half(str(number)) for number in range(9, 13)],
        7,
        set(),
        "9 of 15 done, clip 9 at step 12/30, clip 10 at step 12/30, clip 11 at step 12/30, 4 more begun; journal of"
        " clip 9 and 3 more not usable on this GPU: computed on NVIDIA A100-SXM4-80GB, so what it holds is computed"
        " again",
    ),
]


@pytest.mark.parametrize(("begun", "total", "products", "said"), SAID)
def test_an_import_says_first_what_will_happen(
    begun: list[HalfDone], total: int, products: set[str] | None, said: str
) -> None:
    stages = [StageSummary(name="clip", total=15, done=9)]
    manifest = Manifest(
        format="carryon-archive",
        version=1,
        created="now",
        origin=Origin(namespace="a", name="b"),
        artifacts=True,
        checkpoints=True,
        items=15,
        stages=stages,
    )
    made = preview(
        manifest,
        {"spec": {}},
        name="b",
        namespace="a",
        stages=stages,
        half=begun,
        half_total=total,
        notes=(),
        products=products,
    )
    assert made.message == said
