"""Archives against real stores: what goes out of one bucket comes into another and goes on there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from archives import NAMESPACE, exported, film, half_made, make, raw, resolved
from carryon_core import layout
from carryon_core.done import Outcome
from carryon_core.messages import StoreConfig
from carryon_core.resolve import file_uris, resolve
from carryon_core.rows import parse_rows
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, stand
from carryon_jobs.archive import checking, exporting, importing, moving
from carryon_jobs.archive.claiming import Claim
from carryon_jobs.archive.errors import NameTaken, NeedsSecrets, Unanswered
from carryon_jobs.archive.moving import Place
from carryon_jobs.errors import BadRequest, NotPossible, OutOfReach
from carryon_jobs.job import Job
from carryon_store import Store, Stores
from carryon_store.records import put_items


class FakeCluster:
    """The jobs of an API server, as far as an import asks."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.refusal: Exception | None = None
        self.when_created: Exception | None = None
        self.created_all_the_same = False

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.jobs.get((namespace, name))

    def create(self, job: dict[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        at = (job["metadata"]["namespace"], job["metadata"]["name"])
        if self.refusal is not None:
            raise self.refusal
        if at in self.jobs:
            raise NameTaken("there is one", "")
        if not dry_run and (self.when_created is None or self.created_all_the_same):
            self.jobs[at] = job
        if not dry_run and self.when_created is not None:
            raise self.when_created
        return job


@pytest.fixture
def file_store(file_config: StoreConfig) -> Store:
    """An empty folder: what depends on no kind of store needs to be shown on one only."""
    return Stores().open(file_config)


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
    assert "half-made units go on with the images that began them: carryon/worker:1" in said.notes
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


def test_an_archive_without_artifacts_or_checkpoints_is_smaller_and_says_so(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    job = half_made(file_store, file_config, tmp_path)
    bare = exported(job, tmp_path / "bare.carryon", artifacts=False, checkpoints=False)
    with opened(bare) as archive:
        assert (archive.done, archive.kept) == ({}, frozenset())
        assert (archive.manifest.done, archive.manifest.half_done_total) == (0, 0)
    begun = exported(job, tmp_path / "begun.carryon", artifacts=False)
    said = brought(begun, elsewhere, FakeCluster()).preview
    assert said.message == "0 of 9 done, clip a/b at step 7/30, clip sea goes on from its checkpoint"
    assert bare.stat().st_size < begun.stat().st_size
    # Where the bucket is the same, what is finished is found although the archive does not hold it.
    here = Place(NAMESPACE, "reel", file_config)
    with opened(bare) as archive:
        planned = importing.plan(archive, here, file_store, FakeCluster())
    assert planned.preview.done == 6


def test_a_job_that_comes_back_to_its_own_bucket_sends_nothing_again(
    store: Store, store_config: StoreConfig, tmp_path: Path
) -> None:
    job = half_made(store, store_config, tmp_path)
    path = exported(job, tmp_path / "reel.carryon")
    before = {info.key: info.modified for info in store.list()}
    with opened(path) as archive:
        planned = importing.plan(archive, Place(NAMESPACE, "reel", store_config), store, FakeCluster())
        importing.carry_out(planned, FakeCluster())
    assert {info.key: info.modified for info in store.list()} == before


def test_a_reel_that_gathered_its_clips_is_not_made_again(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    job = raw(film(), file_config)
    units = resolved(job)
    make(file_store, units, "image", tmp_path, *units.ids)
    make(file_store, units, "clip", tmp_path, *units.ids[:3])
    make(file_store, units, "clip", tmp_path, units.ids[3], outcome=Outcome.SKIPPED)
    known = {
        fingerprint: DoneUnit(Outcome.SKIPPED if (stage.name, number) == ("clip", 3) else Outcome.GENERATED)
        for stage in units.stages
        for number, fingerprint in enumerate(stage.fingerprints)
        if fingerprint
    }
    make(file_store, stand(units, known).job, "reel", tmp_path, "job")
    planned = brought(exported(job, tmp_path / "reel.carryon"), elsewhere, FakeCluster())
    assert planned.preview.message == "9 of 9 done"


def test_items_from_a_table_travel_along_as_a_table_of_the_job(
    store: Store, store_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    spec = film()
    rows = [(each["id"], each["params"]) for each in spec["items"]["list"]]
    spec["items"] = {"from": {"configMapKeyRef": {"name": "scenes", "key": "items.csv"}, "format": "csv", "first": 4}}
    job = raw(spec, store_config)
    units = resolve(NAMESPACE, "reel", JobSpec.model_validate(job["spec"]), rows)
    job["status"] = {"items": {"count": 4, "digest": put_items(store, NAMESPACE, "reel", units.items)}}
    make(store, units, "image", tmp_path, *units.ids)
    cluster = FakeCluster()
    planned = brought(exported(job, tmp_path / "reel.carryon"), elsewhere, cluster)
    assert planned.preview.done == 4
    source = JobSpec.model_validate(cluster.jobs["other", "reel"]["spec"]).items.from_
    assert source is not None
    assert source.uri is not None
    there = Stores().open(elsewhere).get(source.uri.removeprefix(f"{elsewhere.uri}/"))
    assert list(parse_rows(there, source)) == rows
    assert any("table" in note for note in planned.preview.notes)


def test_a_file_whose_name_a_template_makes_goes_along_where_nothing_else_would_change(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    file_store.put("photos/dunes.png", b"a photo", content_type="image/png")
    digest = hashlib.sha256(b"a photo").hexdigest()
    uri = f"{file_config.uri}/photos/dunes.png"
    for text, moves in (("{{ item.photo }}", True), (f"{file_config.uri}/photos/{{{{ item.id }}}}.png", False)):
        params = {"image": {"file": text}}
        spec = {
            "items": {"list": [{"id": "dunes", "params": {"photo": uri}}]},
            "stages": [{"name": "clip", "generate": {"diffusers": {"model": "tiny", "params": params}}}],
        }
        job = raw(spec, file_config)
        units = resolved(job, {uri: digest})
        make(file_store, units, "clip", tmp_path, "dunes")
        place = elsewhere.model_copy(update={"uri": f"{elsewhere.uri}/{moves}"})
        cluster = FakeCluster()
        planned = brought(exported(job, tmp_path / f"{moves}.carryon"), place, cluster)
        assert planned.preview.done == 1
        made = cluster.jobs["other", "reel"]
        known = json.loads(Stores().open(place).get("other/reel/_files.json")) if not moves else {}
        assert known == ({} if moves else {uri: ["", digest]})
        found = file_uris("other", "reel", JobSpec.model_validate(made["spec"]))
        assert all(each.startswith(place.uri) for each in found) is moves
        assert any("stay where they are" in note for note in planned.preview.notes) is not moves


def test_a_name_that_templates_use_is_told_before_it_makes_everything_anew(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    spec = film()
    spec["stages"][0]["generate"]["command"]["args"].append("{{ job.name }}")
    job = raw(spec, file_config)
    units = resolved(job)
    make(file_store, units, "image", tmp_path, *units.ids)
    path = exported(job, tmp_path / "reel.carryon")
    there = Stores().open(elsewhere)
    planned = brought(path, elsewhere, FakeCluster(), "another")
    assert planned.preview.done == 0
    assert any("import it as reel into studio" in note for note in planned.preview.notes)
    assert not [key for key in keys(there) if "done.json" in key]
    assert brought(path, elsewhere, FakeCluster()).preview.done == 4


def test_secrets_stay_behind_until_somebody_says_what_takes_their_place(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    spec = film()
    spec["models"] = {"tokenSecret": {"name": "hub"}}
    worker = {"name": "worker", "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "api", "key": "k"}}}]}
    volumes = [{"name": "v", "secret": {"secretName": "files"}}]
    spec["podTemplate"] = {"spec": {"containers": [worker], "volumes": volumes, "imagePullSecrets": [{"name": "pull"}]}}
    job = raw(spec, file_config)
    job["spec"]["output"]["credentialsSecret"] = {"name": "bucket-keys"}
    path = tmp_path / "reel.carryon"
    secrets = {"AWS_ACCESS_KEY_ID": "Y2Fycnlvbg==", "AWS_SECRET_ACCESS_KEY": "Y2FycnlvbmNhcnJ5b24="}
    path.write_bytes(b"".join(exporting.prepare(Job(job, lambda name: secrets)).stream()))
    cluster = FakeCluster()
    with pytest.raises(NeedsSecrets) as asked:
        brought(path, elsewhere, cluster)
    assert asked.value.secrets.keys() == {"hub", "api", "files", "pull"}
    assert cluster.jobs == {}
    brought(path, elsewhere, cluster, secrets={name: f"{name}-2" for name in asked.value.secrets})
    made = json.dumps(cluster.jobs["other", "reel"])
    assert all(f'"{name}-2"' in made for name in asked.value.secrets)
    assert "bucket-keys" not in made


@pytest.mark.parametrize("name", ["../elsewhere/reel", "a/b", "Reel", "x" * 41, "", "reel\n"])
def test_a_job_whose_name_is_none_gets_nowhere(
    name: str, file_store: Store, file_config: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    before = keys(file_store)
    with pytest.raises(BadRequest, match="is no name for a job"):
        brought(path, file_config, FakeCluster(), name)
    assert keys(file_store) == before


def test_what_an_api_server_refuses_leaves_nothing_behind(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    cluster, there = FakeCluster(), Stores().open(elsewhere)
    cluster.refusal = BadRequest("spec.parallelism: must be less")
    with pytest.raises(BadRequest):
        brought(path, elsewhere, cluster)
    assert keys(there) == []
    # Refused only when it is created: somebody was faster.
    cluster.refusal = None
    cluster.when_created = NameTaken("there is one", "")
    with pytest.raises(NameTaken):
        brought(path, elsewhere, cluster)
    assert (keys(there), cluster.jobs) == ([], {})


def test_a_bucket_that_is_full_in_the_middle_gets_its_room_back(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    there = Stores().open(elsewhere)
    there.put("other/reel/image/mine.txt", b"from before", content_type="text/plain")
    # No file can be where a folder is needed.
    (tmp_path / "elsewhere" / "other" / "reel" / "clip").write_text("in the way")
    cluster = FakeCluster()
    with opened(path) as archive:
        planned = importing.plan(archive, Place("other", "reel", elsewhere), there, cluster)
        with pytest.raises(OutOfReach, match="does not take it"):
            importing.carry_out(planned, cluster)
    assert keys(there) == ["other/reel/clip", "other/reel/image/mine.txt"]
    assert cluster.jobs == {}


def test_an_answer_that_was_lost_is_looked_for_before_anything_is_removed(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    there, cluster = Stores().open(elsewhere), FakeCluster()
    cluster.when_created = Unanswered("the connection broke off")
    cluster.created_all_the_same = True
    planned = brought(path, elsewhere, cluster)
    assert planned.preview.done == 6
    assert len(cluster.jobs) == 1

    # A client that asks again hears that there is a job of that name: its own.
    cluster = FakeCluster()
    cluster.when_created, cluster.created_all_the_same = NameTaken("there is one", ""), True
    assert brought(path, elsewhere, cluster, "again").preview.done == 6
    assert [key for key in keys(there) if key.startswith("other/again/")]

    cluster = FakeCluster()
    cluster.when_created = Unanswered("the connection broke off")
    with pytest.raises(OutOfReach, match="could not be created"):
        brought(path, elsewhere, cluster, "second")
    assert not [key for key in keys(there) if key.startswith("other/second/")]


class Overtaken(FakeCluster):
    """The same, where somebody does something else between a check and what was checked."""

    def __init__(self, meanwhile: Callable[[FakeCluster], None]) -> None:
        super().__init__()
        self._meanwhile: Callable[[FakeCluster], None] | None = meanwhile

    def create(self, job: dict[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        if not dry_run and self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile(self)
        return super().create(job, dry_run=dry_run)


def test_an_import_that_was_overtaken_takes_nothing_from_the_job_that_came_to_be(
    store: Store, store_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(store, store_config, tmp_path), tmp_path / "reel.carryon")

    def overtake(same: FakeCluster) -> None:
        # Somebody applies it whose bucket has all of it: no import, which would not be let in.
        same.jobs["other", "reel"] = {"metadata": {"name": "reel"}}

    cluster = Overtaken(overtake)
    with pytest.raises(NameTaken):
        brought(path, elsewhere, cluster)
    assert len(cluster.jobs) == 1
    planned = brought(path, elsewhere, FakeCluster())
    assert planned.contents.done
    whole = elsewhere.model_copy(update={"uri": f"{elsewhere.uri}-whole"})
    brought(path, whole, FakeCluster())
    assert keys(Stores().open(elsewhere)) == keys(Stores().open(whole))


def test_an_import_that_is_stopped_while_its_job_is_created_leaves_the_job_what_it_counts_on(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    cluster = FakeCluster()
    cluster.when_created, cluster.created_all_the_same = Exception("stopped"), True
    with pytest.raises(Exception, match="stopped"):
        brought(path, elsewhere, cluster)
    assert len(cluster.jobs) == 1
    with opened(path) as archive:
        again = importing.plan(archive, Place("other", "reel", elsewhere), Stores().open(elsewhere), FakeCluster())
    assert len(again.contents.done) == again.preview.done == 6


def test_a_second_import_is_not_let_in_while_the_first_may_still_take_away_what_it_brought(
    store: Store, store_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the claim the second one found all objects there, and the first one removed them under its job."""
    monkeypatch.setitem(Claim.__init__.__kwdefaults__, "renew", 0.05)
    path = exported(half_made(store, store_config, tmp_path), tmp_path / "reel.carryon")
    refusals: list[Exception] = []

    def second(same: FakeCluster) -> None:
        # The first one has written everything; its job is refused next, and it takes everything back.
        with pytest.raises(NotPossible, match="another import of reel into namespace other is at work") as refused:
            brought(path, elsewhere, same)
        refusals.append(refused.value)
        same.refusal = BadRequest("spec.parallelism: must be less")

    cluster = Overtaken(second)
    with pytest.raises(BadRequest):
        brought(path, elsewhere, cluster)
    assert len(refusals) == 1
    assert keys(Stores().open(elsewhere)) == []
    cluster.refusal = None
    assert brought(path, elsewhere, cluster).preview.done == 6


def test_of_imports_that_race_for_one_place_one_makes_the_job_with_all_it_has(
    store: Store, store_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Claim.__init__.__kwdefaults__, "renew", 0.05)
    path = exported(half_made(store, store_config, tmp_path), tmp_path / "reel.carryon")
    cluster, racers = FakeCluster(), 4
    start = threading.Barrier(racers)

    def race(_: int) -> Exception | None:
        try:
            with opened(path) as archive:
                there = Stores().open(elsewhere)
                planned = importing.plan(archive, Place("other", "reel", elsewhere), there, cluster)
                start.wait(30)
                importing.carry_out(planned, cluster)
        except (NameTaken, NotPossible) as error:
            return error
        return None

    with ThreadPoolExecutor(racers) as threads:
        ended = list(threads.map(race, range(racers)))
    assert ended.count(None) == len(cluster.jobs) == 1
    whole = elsewhere.model_copy(update={"uri": f"{elsewhere.uri}-whole"})
    brought(path, whole, FakeCluster())
    assert keys(Stores().open(elsewhere)) == keys(Stores().open(whole))


@pytest.mark.parametrize("moment", ["before it is planned", "before it is carried out"])
def test_what_another_import_takes_back_is_written_again(
    moment: str,
    file_store: Store,
    file_config: StoreConfig,
    elsewhere: StoreConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    there = Stores().open(elsewhere)
    with opened(path) as archive:
        place = Place("other", "reel", elsewhere)
        early = importing.plan(archive, place, there, FakeCluster())
        brought(path, elsewhere, FakeCluster())
        whole = keys(there)
        late = importing.plan(archive, place, there, FakeCluster())
        real, listed = type(there).list, []

        def then_gone(self: Store, prefix: str = "", **others: Any) -> Iterator[Any]:
            found = list(real(self, prefix, **others))
            if not listed and "_import" not in prefix:
                for info in found:
                    self.delete(info.key)
            if "_import" not in prefix:
                listed.append(prefix)
            return iter(found)

        monkeypatch.setattr(type(there), "list", then_gone)
        importing.carry_out(early if moment == "before it is planned" else late, FakeCluster())
    assert keys(there) == whole


def test_a_done_json_of_artifacts_that_are_gone_gives_way_to_that_of_the_archive(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    there = Stores().open(elsewhere)
    brought(path, elsewhere, FakeCluster())
    done = next(info for info in there.list() if info.key.endswith("/done.json"))
    content = there.get(done.key)
    artifact = json.loads(content)["artifacts"][0]["key"].encode()
    there.put(done.key, content.replace(artifact, b"x" * len(artifact)), content_type="application/json")
    brought(path, elsewhere, FakeCluster())
    assert there.get(done.key) == content


def test_requests_that_somebody_wrote_into_an_archive_are_not_made_again(
    file_store: Store, file_config: StoreConfig, elsewhere: StoreConfig
) -> None:
    job = raw(film(), file_config)
    job["metadata"]["annotations"] = {"carryon.dev/confirm-items": "1234", "carryon.dev/import": "x", "mine": "y"}
    made = moving.moved(
        job, Place("other", "reel", elsewhere), uris={}, items=None, secrets={}, start=False, mark="ours"
    )
    assert made["metadata"]["annotations"] == {"mine": "y", "carryon.dev/import": "ours"}


def test_an_archive_is_not_made_of_a_bucket_that_is_seen_from_the_wrong_place(
    file_store: Store, file_config: StoreConfig, tmp_path: Path
) -> None:
    job = half_made(file_store, file_config, tmp_path)
    job["metadata"]["generation"] = 1
    job["status"] = {"observedGeneration": 1, "units": {"succeeded": 6}}
    exported(job, tmp_path / "reel.carryon")
    job["spec"]["output"] = {"uri": (tmp_path / "nowhere").as_uri()}
    with pytest.raises(OutOfReach, match="as it is seen from here, holds none"):
        exporting.prepare(Job(job, lambda name: {}))


def test_an_import_that_is_killed_in_the_middle_leaves_nothing_that_counts_and_is_completed_by_the_next(
    file_store: Store,
    file_config: StoreConfig,
    elsewhere: StoreConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    there, seen = Stores().open(elsewhere), [0]
    monkeypatch.setitem(Claim.__init__.__kwdefaults__, "lease", 0.2)
    for puts in (1, 9, 9):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), elsewhere.uri, str(puts)], env={**os.environ, "PYTHONPATH": TESTS}
        )
        assert ran.returncode == 9
        seen.append(len(keys(there)))
    assert seen[1] <= seen[2] < seen[3]
    brought(path, elsewhere, FakeCluster())
    whole = elsewhere.model_copy(update={"uri": f"{elsewhere.uri}-whole"})
    brought(path, whole, FakeCluster())
    assert keys(there) == keys(Stores().open(whole))


TESTS = str(Path(__file__).parents[1])
KILLED = """
import os, sys, threading
from carryon_core.messages import StoreConfig
from carryon_jobs.archive import checking, importing
from carryon_jobs.archive.moving import Place
from carryon_jobs.archive.claiming import Claim
from carryon_store.files import FileStore

Claim.__init__.__kwdefaults__["lease"] = 0.2
count, lock, real = [int(sys.argv[3])], threading.Lock(), FileStore.put

def put(self, *args, **kwargs):
    with lock:
        count[0] -= 1
        if count[0] == 0:
            os._exit(9)
    return real(self, *args, **kwargs)

class Cluster:
    def find(self, namespace, name): return None
    def create(self, job, *, dry_run): return job

FileStore.put = put
from carryon_store import Stores
config = StoreConfig(uri=sys.argv[2])
with open(sys.argv[1], "rb") as file:
    archive = checking.check(file.fileno())
    plan = importing.plan(archive, Place("other", "reel", config), Stores().open(config), Cluster())
    importing.carry_out(plan, Cluster())
"""
"""An import that dies, as of SIGKILL, when it is about to write its n-th object."""


def test_an_artifact_that_is_damaged_in_the_bucket_ends_the_export(
    file_store: Store, file_config: StoreConfig, tmp_path: Path
) -> None:
    job = half_made(file_store, file_config, tmp_path)
    key = next(info for info in file_store.list() if "/clip/" in info.key and "a film" in info.key)
    file_store.put(key.key, b"x" * key.size, content_type="text/plain")
    with pytest.raises(OutOfReach, match="is damaged"):
        exported(job, tmp_path / "reel.carryon")


def test_other_programs_open_an_archive(file_store: Store, file_config: StoreConfig, tmp_path: Path) -> None:
    path = exported(half_made(file_store, file_config, tmp_path), tmp_path / "reel.carryon")
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
        assert zipped.namelist()[:2] == ["manifest.json", "job.yaml"]
        assert yaml.safe_load(zipped.read("job.yaml"))["kind"] == "GenerationJob"


def _content(store: Store, prefix: str) -> dict[str, bytes]:
    return {
        info.key.removeprefix(prefix): store.get(info.key)
        for info in store.list(prefix)
        if not info.key.endswith(".log")
    }
