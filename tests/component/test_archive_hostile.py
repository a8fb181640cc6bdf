"""An archive that somebody means ill with, or that broke on its way, is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archives import exported, half_made
from carryon_core import layout
from carryon_core.messages import StoreConfig
from carryon_jobs.archive import checking, members, moving
from carryon_jobs.archive.errors import BadArchive, Incomplete
from carryon_store import Stores
from hostile_archives import Forged, Member, taken_apart

PICKLE = pickle.dumps({"latents": [1, 2, 3]})
UNIT = "units/clip/a%2Fb/"
SIXTEEN = "0" * 16
KEPT = f"{SIXTEEN}/checkpoint/000001.{SIXTEEN}.tar"
NOBODYS = hashlib.sha256(b"x").hexdigest()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("origin")
    config = StoreConfig(uri=(folder / "bucket").as_uri())
    store = Stores().open(config)
    store.put("photo.png", b"a photo", content_type="image/png")
    job = half_made(store, config, folder, f"{config.uri}/photo.png")
    return exported(job, folder / "reel.carryon").read_bytes()


def checked(content: bytes, folder: Path) -> checking.Archive:
    path = folder / "hostile.carryon"
    path.write_bytes(content)
    with path.open("rb") as file:
        return checking.check(file.fileno())


def apart(good: bytes, folder: Path) -> Forged:
    path = folder / "good.carryon"
    path.write_bytes(good)
    with path.open("rb") as file:
        return taken_apart(file.fileno())


def test_the_good_one_is_taken_also_when_it_is_put_together_by_hand(good: bytes, tmp_path: Path) -> None:
    archive = checked(apart(good, tmp_path).encode(), tmp_path)
    assert (len(archive.done), len(archive.kept)) == (6, 2)


def job_yaml(change: Callable[[str], str]) -> Callable[[Forged], Forged]:
    return lambda it: it.edited(members.JOB, lambda content: change(content.decode()).encode())


def manifest(**changed: object) -> Callable[[Forged], Forged]:
    def change(content: bytes) -> bytes:
        return json.dumps({**json.loads(content), **changed}).encode()

    return lambda it: it.edited(members.MANIFEST, change)


def renamed(name: str, **more: object) -> Callable[[Forged], Forged]:
    """With a member that is really called so."""
    return lambda it: it.with_(Member("files/" + "f" * 64, b"x", raw=name.encode("utf-8", "surrogateescape"), **more))  # type: ignore[arg-type]


def added(name: str, content: bytes = b"x") -> Callable[[Forged], Forged]:
    return lambda it: it.with_(Member(name, content))


def changed(end: str, **fields: object) -> Callable[[Forged], Forged]:
    def change(it: Forged) -> Forged:
        return it.with_(replace(it.find(end), **fields))  # type: ignore[arg-type]

    return change


def below(start: str, content: bytes) -> Callable[[Forged], Forged]:
    """With another content of the first member that begins so."""

    def change(it: Forged) -> Forged:
        found = next(each for each in it.members if each.name.startswith(start))
        return it.with_(replace(found, content=content))

    return change


def done_json(**fields: object) -> Callable[[Forged], Forged]:
    def change(it: Forged) -> Forged:
        return it.edited(
            it.find("done.json").name, lambda content: json.dumps({**json.loads(content), **fields}).encode()
        )

    return change


def twice(it: Forged) -> Forged:
    found = it.find(members.ITEMS)
    it.members.insert(it.members.index(found), found)
    return it


def swapped(it: Forged) -> Forged:
    it.members[-1], it.members[-2] = it.members[-2], it.members[-1]
    return it


def overlapping(it: Forged) -> Forged:
    """Two names of one content, as archives have that unpack to a thousand times their size."""
    return it.with_(replace(it.members[-1], at=0))


def set_(**fields: object) -> Callable[[Forged], Forged]:
    def change(it: Forged) -> Forged:
        for name, value in fields.items():
            setattr(it, name, value)
        return it

    return change


def many_images(it: Forged, count: int) -> Forged:
    """With journals of as many workers as there are images, beside the one of a half-made unit."""
    name = it.find("fingerprint.json").name
    folder, _, worker = name.rpartition("/")[0].rpartition("/")
    for number in range(count):
        fields = json.dumps({"worker image": f"registry.example.com/worker:{number}"}).encode()
        it = it.with_(Member(f"{folder}/{number:0{len(worker)}x}/fingerprint.json", fields))
    return it


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


BILLION_LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"

CHANGES: dict[str, tuple[Callable[[Forged], Forged], str]] = {
    # Where members lead.
    "a path upwards": (renamed("files/../../../etc/cron.d/x"), "leads out of the archive"),
    "a path upwards, in the middle": (renamed("units/clip/../x"), "leads out of the archive"),
    "an absolute path": (renamed("/etc/passwd"), "absolute path"),
    "a drive": (renamed("C:x"), "absolute path"),
    "a path of Windows": (renamed("files\\..\\x"), "absolute path"),
    "a folder": (renamed("files/"), "is a folder"),
    "an empty part": (renamed("files//x"), "is a folder"),
    "a deep path": (renamed("/".join("abcdefghijklmnopqrst")), "folders deep"),
    "a long name": (renamed("files/" + "x" * 2000), "is no name"),
    "a control character": (renamed("files/a\nb"), "control characters"),
    "a name that is no UTF-8": (renamed("files/\udcff"), "no UTF-8"),
    "a link": (renamed("files/x", mode=stat.S_IFLNK | 0o777), "is a link"),
    "a device": (renamed("files/x", mode=stat.S_IFBLK | 0o644), "no regular file"),
    "a name that only the directory has": (changed("done.json", central_name=b"units/x"), "contradict each other"),
    # What the zip itself says.
    "something before it": (set_(before=b"#!/bin/sh\n"), "does not begin as one"),
    "a picture before it": (set_(before=b"PK\3\4" + b"x" * 40), "gap before it"),
    "something behind it": (set_(after=b"more"), "does not end as an archive"),
    "a comment": (set_(comment=b"hello"), "does not end as an archive"),
    "something in its middle": (set_(between=b"hidden"), "between its last member and its directory"),
    "members that overlap": (overlapping, "overlaps"),
    "a member twice": (twice, "is in it twice"),
    "members in another order": (swapped, "not where it belongs"),
    "an encrypted member": (changed("done.json", flags=0x801), "is encrypted"),
    "a method nobody knows": (changed("done.json", method=99), "method 99"),
    "a wrong checksum": (changed("done.json", checksum=1), "its checksum"),
    "a compressed artifact": (changed(".txt", method=8), "is compressed"),
    # Bombs.
    "a document that grows a thousandfold": (
        lambda it: it.with_(Member(members.ITEMS, bytes(8 << 20), method=8)),
        "may be a bomb",
    ),
    "a document that is larger than it says": (
        lambda it: it.with_(Member(members.ITEMS, bytes(1 << 19), method=8, size=100)),
        "may be a bomb",
    ),
    "many documents that grow": (
        lambda it: it.with_(*(Member(f"models/{number:032x}.json", bytes(1 << 20), method=8) for number in range(200))),
        "may be a bomb",
    ),
    "a huge manifest": (lambda it: it.with_(Member(members.MANIFEST, os.urandom(2 << 20))), "at most 1048576"),
    "a huge job": (lambda it: it.with_(Member(members.JOB, os.urandom(5 << 20))), "at most 4194304"),
    "a job of aliases": (job_yaml(lambda text: BILLION_LAUGHS + text), "YAML aliases"),
    "a job that nests without end": (job_yaml(lambda text: f"x: {deep(2000)}\n{text}"), "levels deep"),
    "items that nest without end": (
        lambda it: it.edited(members.ITEMS, lambda _: f'{{"id": "a", "params": {{"x": {deep(5000)}}}}}\n'.encode()),
        "items.jsonl, line 1",
    ),
    "more items than a job may have": (
        lambda it: it.edited(members.ITEMS, lambda _: b'{"id": "a"}\n' * 100_001),
        "more than 100000 items",
    ),
    # Digests.
    "a digest that does not fit": (
        set_(lines=lambda lines: [{**line, "sha256": "0" * 64} if "clip" in line["name"] else line for line in lines]),
        "its SHA-256 differs",
    ),
    "a size that does not fit": (
        set_(lines=lambda lines: [{**line, "size": 1} if "clip" in line["name"] else line for line in lines]),
        "its SHA-256 differs",
    ),
    "a member that nobody tells of": (set_(lines=lambda lines: lines[:-1]), "does not name"),
    "a member that is not there": (
        set_(lines=lambda lines: [*lines, {"name": "x", "size": 0, "sha256": "0" * 64}]),
        "names members that the archive does not have",
    ),
    "no digests": (set_(told=b""), "does not name manifest.json"),
    "digests that are no JSON": (set_(told=b"x" * 50_000 + b"\n"), "describes no member"),
    "digests without end": (set_(told=b"x" * 50_000), "whole line"),
    # Pickles, and whatever else is no part of an archive.
    "a pickle beside the checkpoints": (added(f"{UNIT}{SIXTEEN}/journal/{'a' * 12}/pod/000000.pt", PICKLE), "pickle"),
    "a pickle as a checkpoint": (added(f"{UNIT}{SIXTEEN}/checkpoint/state.pkl", PICKLE), "pickle"),
    "a pickle in the place of tensors": (
        changed("000001.safetensors", content=PICKLE),
        "no safetensors file (it",
    ),
    "a program": (added("install.sh", b"#!/bin/sh"), "nothing that an archive holds"),
    "a log": (added(f"{UNIT}{SIXTEEN}/attempts/pod.log"), "nothing that an archive holds"),
    "a folder that is none": (changed(".tar", content=b"x" * 1024), "no folder that a worker has packed"),
    "fields that are none": (changed("fingerprint.json", content=b"[]"), "no JSON object"),
    "an image that would hide on a screen": (
        changed("fingerprint.json", content=b'{"worker image": "carryon/worker:1\\n\\u202eevil"}'),
        "which is no name of one",
    ),
    "an image too long to be read": (
        changed("fingerprint.json", content=json.dumps({"worker image": "w" * 600}).encode()),
        "which is no name of one",
    ),
    "more images than anybody looks at": (lambda it: many_images(it, 51), "more than 50 worker images"),
    "a commit that is none": (below("models/", b"{}"), "names no commit"),
    # Versions.
    "a newer version": (manifest(version=2), "format version 2"),
    "another program's archive": (manifest(format="queue"), "none of Carryon's"),
    "a manifest that is none": (lambda it: it.edited(members.MANIFEST, lambda _: b"\xff"), "none of Carryon's"),
    "a contract nobody knows": (done_json(contract=2), "is of contract 2"),
    # What units claim.
    "an artifact that done.json does not know": (
        lambda it: it.with_(Member(it.find("done.json").name.replace("done.json", "extra.txt"), b"x")),
        "do not fit each other: extra.txt",
    ),
    "an artifact that is missing": (lambda it: it.without(".txt"), "do not fit each other"),
    "an artifact of another content": (changed(".txt", content=b"other"), "do not fit each other"),
    "artifacts without done.json": (lambda it: it.without("done.json"), "there is no done.json"),
    "a done.json of another item": (done_json(item="sea"), "describes another unit"),
    "a done.json of another fingerprint": (done_json(fingerprint="0" * 64), "describes another unit"),
    "a done.json that is none": (done_json(artifacts=7), "done.json: artifacts"),
    "a unit of another job": (
        added(f"units/clip/stranger/{SIXTEEN}/checkpoint/000001.{SIXTEEN}.tar", bytes(512)),
        "no unit",
    ),
    "a stage of another job": (
        added(f"units/other/sea/{SIXTEEN}/checkpoint/000001.{SIXTEEN}.tar", bytes(512)),
        "no unit",
    ),
    # What the job says.
    "a job that is no YAML": (job_yaml(lambda text: "{"), "is no YAML"),
    "a job that calls functions": (
        job_yaml(lambda text: text + "x: !!python/object/apply:os.system [id]\n"),
        "is no YAML",
    ),
    "a job that is none": (job_yaml(lambda text: text.replace("GenerationJob", "Secret")), "holds no GenerationJob"),
    "a job of another version": (job_yaml(lambda text: text.replace("v1alpha1", "v9")), "is of carryon.dev/v9"),
    "a job with a date for text": (
        job_yaml(lambda text: text.replace("seed: 7", "seed: 2026-01-01")),
        "no job can hold",
    ),
    "a field that no job has": (job_yaml(lambda text: text.replace("seed: 7", "sed: 7")), "spec.sed"),
    "items that are not the job's": (
        lambda it: it.edited(members.ITEMS, lambda content: content.replace(b"dunes", b"rocks")),
        "does not hold the items",
    ),
    "an item twice": (job_yaml(lambda text: text.replace("id: sea", "id: dunes")), "the id"),
    "a template that reaches out": (
        job_yaml(lambda text: text.replace("{{ item.prompt }}", "{{ item.__class__.__mro__ }}")),
        "can't be carried out",
    ),
    "no job": (lambda it: it.without(members.JOB), "job.yaml is not where it belongs"),
    "no items": (lambda it: it.without(members.ITEMS), "has no items.jsonl"),
    "an input that is not there": (lambda it: it.without_below("files/"), "is not in the archive"),
    "an input of another content": (below("files/", b"else"), "not the file that its name says"),
    "an input that no parameter names": (added(f"files/{NOBODYS}"), "no parameter"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_refused_with_its_reason(what: str, good: bytes, tmp_path: Path) -> None:
    change, reason = CHANGES[what]
    with pytest.raises(BadArchive) as refused:
        checked(change(apart(good, tmp_path)).encode(), tmp_path)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 600


def test_every_image_is_named_to_whoever_imports_them(good: bytes, tmp_path: Path) -> None:
    archive = checked(many_images(apart(good, tmp_path), 40).encode(), tmp_path)
    (note,) = moving.begun_by(archive.images)
    assert len(archive.images) == 41
    assert all(f"registry.example.com/worker:{number}" in note for number in range(40))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_an_archive_that_is_cut_off_is_refused(part: float, good: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadArchive):
        checked(good[: int(len(good) * part)], tmp_path)


def test_no_single_byte_can_be_changed(good: bytes, tmp_path: Path) -> None:
    """Dates and versions of headers aside, which nobody reads."""
    for at in range(0, len(good), max(1, len(good) // 100)):
        damaged = bytearray(good)
        damaged[at] ^= 0x41
        try:
            archive = checked(bytes(damaged), tmp_path)
        except BadArchive:
            continue
        again = checked(good, tmp_path)
        assert (archive.manifest, archive.job, archive.rows, archive.done, archive.kept) == (
            (again.manifest, again.job, again.rows, again.done, again.kept)
        ), at


def test_the_first_bytes_tell_what_an_archive_is_and_too_few_say_so(good: bytes) -> None:
    assert checking.look(good[: 1 << 20]).manifest.done == 6
    with pytest.raises(Incomplete, match="send more"):
        checking.look(good[:100])
    with pytest.raises(BadArchive, match="does not begin as one"):
        checking.look(b"<!doctype html>" * 100)


def test_nothing_but_members_of_units_lies_below_a_prefix() -> None:
    assert members.unit_member(f"units/clip/a/{SIXTEEN}/{layout.DONE}") is not None
    for name in ("units/clip/a/done.json", f"units/Clip/a/{SIXTEEN}/x", f"units/clip/a/{SIXTEEN}/x/y"):
        with pytest.raises(BadArchive):
            members.unit_member(name)
