"""Archives against real stores: what goes out of one bucket comes into another and goes on there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from archives import NAMESPACE, exported, half_made, resolved
from carryon_core import layout
from carryon_core.messages import StoreConfig
from carryon_jobs.archive import checking, importing
from carryon_jobs.archive.errors import NameTaken
from carryon_jobs.archive.moving import Place
from carryon_store import Store, Stores


class FakeCluster:
    """The jobs of an API server, as far as an import asks."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.refusal: Exception | None = None

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.jobs.get((namespace, name))

    def create(self, job: dict[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        at = (job["metadata"]["namespace"], job["metadata"]["name"])
        if self.refusal is not None:
            raise self.refusal
        if at in self.jobs:
            raise NameTaken("there is one", "")
        if not dry_run:
            self.jobs[at] = job
        return job


@pytest.fixture
def elsewhere(tmp_path: Path) -> StoreConfig:
    """Another, empty store."""
    return StoreConfig(uri=(tmp_path / "elsewhere").as_uri())


@contextmanager
def opened(path: Path) -> Iterator[checking.Archive]:
    with path.open("rb") as file:
        yield checking.check(file.fileno())


def keys(store: Store, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def brought(
    path: Path, config: StoreConfig, cluster: FakeCluster, name: str = "reel", **options: Any
) -> importing.Plan:
    """Import an archive."""
    with opened(path) as archive:
        place = Place("other", name, config)
        planned = importing.plan(archive, place, Stores().open(config), cluster, **options)
        importing.carry_out(planned, cluster)
        return planned


def test_a_half_made_job_goes_on_in_another_bucket_with_all_it_has(
    store: Store, store_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    store.put("photos/mine (1).png", b"a photo", content_type="image/png")
    photo = f"{store_config.uri}/photos/mine (1).png"
    job = half_made(store, store_config, tmp_path, photo)
    path = exported(job, tmp_path / "reel.carryon")

    cluster, there = FakeCluster(), Stores().open(elsewhere)
    planned = brought(path, elsewhere, cluster, products={"NVIDIA-H100-80GB-HBM3"})
    made = dict(cluster.jobs["other", "reel"])
    said = planned.preview
    assert (said.done, said.total, said.half_done_total) == (6, 9, 2)
    assert said.message == (
        "6 of 9 done, clip a/b at step 7/30, clip sea goes on from its checkpoint; journal of clip a/b not usable on"
        " this GPU: computed on NVIDIA A100-SXM4-80GB, so what it holds is computed again"
    )
    assert made["spec"]["suspend"] is True
    assert made["spec"]["output"] == {"uri": elsewhere.uri}
    assert made["metadata"]["labels"] == {"team": "film"}
    assert "carryon.dev/resume-requested-at" not in made["metadata"]["annotations"]

    uri = made["spec"]["items"]["list"][0]["params"]["photo"]["file"]
    assert uri.startswith(f"{elsewhere.uri}/other/reel/_inputs/")
    assert uri.endswith("/mine_1_.png")
    key = uri.removeprefix(f"{elsewhere.uri}/")
    assert there.get(key) == b"a photo"
    before = resolved(job, {photo: hashlib.sha256(b"a photo").hexdigest()})
    after = resolved(made, {uri: hashlib.sha256(b"a photo").hexdigest()})
    assert [stage.fingerprints for stage in after.stages] == [stage.fingerprints for stage in before.stages]
    for old, new in zip(before.units(), after.units(), strict=True):
        if not old.fingerprint:
            continue
        assert _content(store, before.prefix(old)) == _content(there, after.prefix(new)), old
    pin = layout.model_pin_key("other", "reel", "black/flux", "main")
    assert there.get(pin) == store.get(layout.model_pin_key(NAMESPACE, "reel", "black/flux", "main"))
    assert not [key for key in keys(there) if "old.txt" in key or key.endswith(".log")]


def _content(store: Store, prefix: str) -> dict[str, bytes]:
    return {
        info.key.removeprefix(prefix): store.get(info.key)
        for info in store.list(prefix)
        if not info.key.endswith(".log")
    }
