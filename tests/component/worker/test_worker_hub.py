"""Models of a hub: at one commit for a whole job, from a real server on loopback, by the hub's own library."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

import fake_hub
from carryon_core import layout
from carryon_core.messages import ExitCode
from fake_hub import Hub, Repository
from forked_workers import Forge
from worker_runs import Runs

MODEL = "studio/tiny"
PICTURE = {"prompt": "dunes at dawn", "height": 16, "width": 16, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def listening() -> Iterator[Hub]:
    with fake_hub.serve() as made:
        yield made


@pytest.fixture(scope="module")
def forge(listening: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with pytest.MonkeyPatch.context() as patch:
        # The hub's library reads it when it is imported.
        patch.setenv("HF_ENDPOINT", listening.address)
        made = Forge(tmp_path_factory.mktemp("forge") / "log")
    yield made
    made.close()


@pytest.fixture(scope="module")
def content(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The files of a tiny pipeline."""
    folder = tmp_path_factory.mktemp("tiny")
    forge.build(folder, "sd")
    return fake_hub.files_of(folder / "sd")


@pytest.fixture
def hub(listening: Hub) -> Hub:
    listening.reset()
    return listening


@pytest.fixture
def repository(hub: Hub, content: Mapping[str, bytes]) -> Repository:
    made = hub.models[MODEL] = Repository()
    # What no pipeline reads is not downloaded.
    made.commit(1, {**content, "unet/weights.bin": b"a pickle", "demo.mp4": b"x"})
    return made


@dataclass
class Cluster(Runs):
    """Nodes that share a hub and a bucket, and have a cache each."""

    hub: Hub = field(default_factory=Hub)

    def unit(self, index: int, revision: str | None = None, model: str = MODEL, **more: Any) -> Any:
        config = {"model": model, "dtype": "float32", "params": PICTURE, "revision": revision, **more}
        return self.bench.unit(index, {"diffusers": {key: value for key, value in config.items() if value is not None}})

    def used(self, unit: Any) -> Any:
        return self.bench.done(unit).models


@pytest.fixture
def cluster(bench: Any, hub: Hub, forge: Forge) -> Cluster:
    return Cluster(bench, forge, hub=hub)


def test_a_branch_is_the_commit_that_the_job_first_found_there(
    cluster: Cluster, repository: Repository, content: Mapping[str, bytes]
) -> None:
    first, later, pinned = cluster.unit(0), cluster.unit(1), cluster.unit(2, f"{2:040x}")
    ended = cluster.run(first)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert f"the default branch of model {MODEL} is commit {1:040x}" in ended.stderr
    assert [each.model_dump(exclude_defaults=True) for each in cluster.used(first)] == [
        {"model": MODEL, "revision": f"{1:040x}"}
    ]
    assert not [path for path in cluster.hub.downloads() if path.endswith((".bin", ".mp4"))]
    key = layout.model_pin_key("studio", "reel", MODEL, "")
    assert json.loads(cluster.bench.store.get(key)) == {"model": MODEL, "revision": None, "commit": f"{1:040x}"}
    assert sorted(path.name for path in (cluster.bench.root / "cache/huggingface/hub").glob("models--*")) == [
        "models--studio--tiny"
    ]

    # The branch moves on; the job does not, on another node neither, and a commit is what it is.
    night = {**content, "README.md": b"moved on"}
    repository.commit(2, night)
    for unit, commit in ((later, 1), (pinned, 2)):
        ended = cluster.run(unit, cache="other")
        assert ended.code == ExitCode.DONE, ended.stderr
        assert [each.revision for each in cluster.used(unit)] == [f"{commit:040x}"]


def test_what_is_in_the_cache_needs_no_hub(cluster: Cluster, repository: Repository) -> None:
    # A revision of a job that nobody asked for yet can't be known; a commit is known by itself.
    commit, branch = cluster.unit(0, f"{1:040x}"), cluster.unit(1, "v1")
    repository.refs["v1"] = f"{1:040x}"
    assert cluster.run(commit).code == ExitCode.DONE
    asked = len(cluster.hub.asked)
    again = commit.model_copy(update={"fingerprint": "f" * 64})
    assert cluster.run(again).code == ExitCode.DONE
    assert len(cluster.hub.asked) == asked
    cluster.hub.fails = 503
    ended = cluster.run(again.model_copy(update={"fingerprint": "e" * 64}), branch)
    assert ended.code == ExitCode.SOME_FAILED
    _, failed = ended.termination.units
    assert (failed.reason, failed.permanent) == ("ModelUnavailable", False)
    assert f"model {MODEL} can't be had from {cluster.hub.address}, and it is not in the cache" in failed.message
    cluster.hub.fails = 0
    assert cluster.run(branch).code == ExitCode.DONE


def test_what_the_hub_refuses_is_said_in_a_sentence_that_says_what_to_do(
    cluster: Cluster, repository: Repository
) -> None:
    cluster.hub.models["studio/private"] = Repository(repository.commits, repository.refs, token="sesame")
    cluster.hub.models["studio/gated"] = Repository(repository.commits, repository.refs, token="sesame", gated=True)
    at = cluster.hub.address
    give, other = (
        "give a token that may read it, by spec.models.tokenSecret",
        "the one in spec.models.tokenSecret may not",
    )
    none = f"at {at}, or it is private: correct the id, or {give}"
    table = [
        ("studio/none", None, f"there is no model studio/none {none}"),
        ("studio/private", None, f"there is no model studio/private {none}"),
        ("studio/gated", None, f"model studio/gated is gated and {at} refuses it: accept its terms there, and {give}"),
        ("studio/gated", f"{1:040x}", "model studio/gated is gated"),
        (MODEL, "v9", f"model {MODEL} has no revision v9 at {at}: name one that it has"),
        (MODEL, f"{9:040x}", f"model {MODEL} has no revision {9:040x} at {at}"),
    ]
    units = [cluster.unit(index, revision, model) for index, (model, revision, _) in enumerate(table)]
    ended = cluster.run(*units)
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    said = ended.refusals
    assert [message for (_, _, message), line in zip(table, said, strict=True) if message not in line] == []

    cluster.env["HF_TOKEN"] = "a wrong one"
    ended = cluster.run(cluster.unit(10, None, "studio/gated"))
    assert ended.code == ExitCode.BAD_REQUEST
    assert other in ended.termination.message
    assert "a wrong one" not in ended.stderr + str(ended.termination)
    cluster.env["HF_TOKEN"] = "sesame"
    ended = cluster.run(cluster.unit(11, None, "studio/gated"), cluster.unit(12, None, "studio/private"))
    assert ended.code == ExitCode.DONE, ended.stderr
    assert "sesame" not in ended.stderr
    assert "sesame" not in str([cluster.bench.store.get(each.key) for each in cluster.bench.store.list()])


def test_a_download_that_was_killed_fetches_no_file_again_that_is_there(
    cluster: Cluster, repository: Repository, content: Mapping[str, bytes]
) -> None:
    padding = os.urandom(8 << 20)
    files = {**content, "tokenizer/padding.json": padding, "text_encoder/padding.json": padding[: 4 << 20]}
    repository.commit(3, files)
    unit = cluster.unit(0)

    def kill(path: str, offset: int) -> bool:
        if path == "tokenizer/padding.json" and offset >= 6 << 20:
            # Everything else is there before this breaks off.
            there = cluster.bench.root / "cache/huggingface/hub/models--studio--tiny"
            weights = [name for name in content if name.endswith(".safetensors")]
            cluster.bench.eventually(lambda: all(list(there.glob(f"snapshots/*/{name}")) for name in weights))
            cluster.bench.eventually(lambda: len(list(there.glob("blobs/*.incomplete"))) == 1)
            os.kill(cluster.forge.worker(), signal.SIGKILL)
        return True

    cluster.hub.sending = kill
    assert cluster.run(unit).code == -signal.SIGKILL
    cluster.hub.reset(models=False)
    ended = cluster.run(unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert [path.partition("/")[2] for path in cluster.hub.downloads()] == ["tokenizer/padding.json"]
    assert list((cluster.bench.root / "cache").rglob("*.incomplete")) == []


def test_a_hub_without_commits_is_loaded_and_keeps_no_journal(cluster: Cluster, repository: Repository) -> None:
    repository.commits["unknown"] = repository.commits[f"{1:040x}"]
    repository.refs["main"] = "unknown"
    unit = cluster.unit(0)
    ended = cluster.run(unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert "nothing is kept of a unit whose model names no commit" in ended.stderr
    assert cluster.bench.done(unit).resume is None
    assert list(cluster.bench.store.list("studio/reel/_models/")) == []


def test_a_pin_that_is_none_is_a_failure_that_names_it(cluster: Cluster, repository: Repository) -> None:
    key = layout.model_pin_key("studio", "reel", MODEL, "")
    cluster.bench.store.put(key, b"{", content_type="application/json")
    ended = cluster.run(cluster.unit(0))
    assert ended.termination.units[0].reason == "PinDamaged"
    assert f"{key} names no commit: delete it" in ended.termination.units[0].message
