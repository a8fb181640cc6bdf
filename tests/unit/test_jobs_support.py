"""A report for support: what it holds, and that nothing gets into it which must not."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from carryon_core import names
from carryon_core.spec import JobSpec
from carryon_jobs import support
from carryon_jobs.allowing import dropped, kept
from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import Job
from carryon_jobs.redaction import JOB
from carryon_jobs.scrubbing import REMOVED
from carryon_jobs.support import Evidence, Found

AT = "2026-10-01T00:00:00Z"
UID = "3fa9c0d1-b2e4-4f00-9abc-3fa9c0d1b2e4"
# Letters that no word of a report is made of, and what programs escape.
LETTERS = st.sampled_from("qxzjvQXZJVäßλж \"\\\n/%+'{}<>&😀")
SECRET = st.text(LETTERS, min_size=6, max_size=50).map(str.strip).filter(lambda text: len("".join(text.split())) >= 6)
HOLES = 20
"""Texts in the job; two more are beside it."""
NAMED = {"kind": names.KIND, "metadata": {"name": "film", "namespace": "studio"}}


def encoded(text: str) -> str:
    return quote(text, safe="")


def manifest(secrets: list[str]) -> dict[str, Any]:
    """A job with a text that must not get out wherever one may stand."""
    text = iter(secrets[:HOLES])
    made = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": "film",
            "namespace": "studio",
            "uid": UID,
            "generation": 3,
            "creationTimestamp": AT,
            "labels": {"team": next(text)},
            "annotations": {
                "example.com/note": next(text),
                names.ANNOTATION_RESUME: AT,
                names.ANNOTATION_RETRY: next(text),
                "kubectl.kubernetes.io/last-applied-configuration": json.dumps(
                    {
                        "kind": names.KIND,
                        "metadata": {"name": "film"},
                        "spec": {"items": {"list": [{"id": next(text)}]}},
                    }
                ),
            },
        },
        "spec": {
            "items": {
                "list": [
                    {"id": next(text), "params": {"prompt": next(text), "more": {"deep": [next(text)]}}},
                    {"id": "1000", "params": {"photo": {"file": "s3://bucket/in/photo.png"}, "x": next(text)}},
                ]
            },
            "stages": [
                {
                    "name": "image",
                    "revision": next(text),
                    "generate": {
                        "diffusers": {
                            "model": "maker/model-1",
                            "pipeline": "WanPipeline",
                            "params": {"prompt": "{{ item.prompt }}, " + next(text)},
                        }
                    },
                    "podTemplate": {
                        "metadata": {"annotations": {"note": next(text)}},
                        "spec": {"containers": [{"name": "worker", "env": [{"name": "TOKEN", "value": next(text)}]}]},
                    },
                },
                {
                    "name": "call",
                    "after": ["image"],
                    "generate": {
                        "http": {
                            "submit": {
                                "url": f"https://{encoded(next(text))}:pw@host/make?key={encoded(next(text))}",
                                "headers": [{"name": "X-Key", "value": next(text)}],
                                "body": {"text": next(text)},
                            }
                        }
                    },
                },
                {
                    "name": "join",
                    "after": ["call"],
                    "each": "job",
                    "generate": {
                        "command": {"args": ["gather", next(text)], "env": [{"name": "K", "value": next(text)}]}
                    },
                },
            ],
            "overrides": [{"stage": "image", "item": "1000", "params": {"prompt": next(text)}}],
            "output": {"uri": "s3://bucket/prefix", "credentialsSecret": {"name": "film-keys"}},
            "notify": [
                {"url": f"https://hooks/x?key={quote(next(text))}", "signingSecret": {"name": "hook", "key": "key"}}
            ],
        },
        "status": {
            "phase": "Running",
            "progress": "1/5",
            "message": f"1 of 5 units done, {secrets[0]} next",
            "units": {"total": 5, "succeeded": 1, "failed": 1, "active": 1, "remaining": 3},
            "stages": [{"name": "image", "total": 2, "succeeded": "0", "failed": "1", "failures": {"3": "1"}}],
            "recentFailures": [
                {
                    "stage": "image",
                    "unit": "1000",
                    "reason": "Crashed",
                    "message": f"could not make {secrets[5]}",
                    "attempt": 3,
                    "time": AT,
                }
            ],
            "notifications": [
                {
                    "hook": 0,
                    "url": "3fa9c0d1b2e4",
                    "id": "0a1b2c3d-stalled-1",
                    "condition": "Stalled",
                    "time": AT,
                    "state": "GivenUp",
                    "attempts": 2,
                    "result": f"no connection to {secrets[6]}",
                }
            ],
            "conditions": [
                {
                    "type": "Progressing",
                    "status": "True",
                    "reason": "Working",
                    "message": f"about {secrets[6]}",
                    "lastTransitionTime": AT,
                }
            ],
            "resolved": {"output": "s3://bucket/prefix"},
        },
    }
    assert next(text, None) is None
    return made


def pod(secrets: list[str]) -> dict[str, Any]:
    assignment = {
        "namespace": "studio",
        "job": "film",
        "stage": "image",
        "store": {"uri": "s3://bucket/prefix"},
        "units": [{"index": 0, "item": secrets[1], "generate": {"diffusers": {"params": {"prompt": secrets[2]}}}}],
    }
    words = {
        "reason": "SomeFailed",
        "message": secrets[3],
        "units": [{"index": 0, "outcome": "failed", "message": secrets[4]}],
    }
    terminated = {"exitCode": 10, "reason": "Error", "message": json.dumps(words), "finishedAt": AT}
    return {
        "metadata": {
            "name": "film-3fa9c0d1b2-1",
            "namespace": "studio",
            "uid": UID,
            "labels": {names.LABEL_STAGE: "image", "mine": secrets[5]},
            "annotations": {names.ANNOTATION_UNITS: json.dumps([secrets[1]]), "note": secrets[6]},
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {
                    "name": "worker",
                    "image": "registry/worker:1",
                    "args": [secrets[7]],
                    "env": [
                        {"name": names.ENV_ASSIGNMENT, "value": json.dumps(assignment)},
                        {"name": "OTHER", "value": secrets[7]},
                    ],
                }
            ],
        },
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "worker", "restartCount": 0, "state": {"terminated": terminated}}],
        },
    }


def found(secrets: list[str], log: str = "") -> Found:
    in_pod = secrets[:8]
    event = {
        "type": "Warning",
        "reason": "UnitFailed",
        "message": f"unit image/{secrets[5]} failed",
        "count": 2,
        "lastTimestamp": AT,
        "involvedObject": {"kind": "GenerationJob", "name": "film", "uid": UID, "fieldPath": secrets[3]},
        "source": {"host": secrets[4]},
    }
    evidence = Evidence(
        pods=[pod(in_pod)],
        events=[event],
        logs={"film-3fa9c0d1b2-1": log},
        program_logs={"operator": log},
        versions={"carryon": "0.1.0", "Kubernetes": "v1.36.0"},
        secrets=[secrets[-1]],
        problems=[f"events: {secrets[2]} is forbidden"],
    )
    return Found(
        manifest(secrets),
        evidence,
        rows=[("row-7", {"prompt": secrets[-2]})],
        saved={f"image, {secrets[0]}": log},
        bucket=support.summary([(f"image/{encoded(secrets[5])}/0123456789abcdef/done.json", 10)], ["image"]),
    )


TEXTS = st.lists(SECRET, min_size=HOLES + 2, max_size=HOLES + 2, unique=True)
# Making twenty texts smaller takes minutes, and says no more.
MANY = settings(
    max_examples=25, phases=[Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck), deadline=None
)
PRINTED: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": json.dumps,
    "python": repr,
    "url": quote,
    "capitals": str.upper,
}


@MANY
@given(TEXTS, st.sampled_from(sorted(PRINTED)))
def test_no_prompt_and_no_secret_is_anywhere_in_a_report(secrets: list[str], form: str) -> None:
    log = "\n".join(f"12:00:0{at % 10} working on {PRINTED[form](each)} now" for at, each in enumerate(secrets))
    made = support.files(found(secrets, log))
    everything = "\n".join([*made, *made.values()])
    read = [json.dumps(json.loads(text), ensure_ascii=False) for name, text in made.items() if name.endswith(".json")]
    for secret in secrets:
        for text in (secret, json.dumps(secret)[1:-1], quote(secret), secret.lower(), secret.upper()):
            assert text not in everything
            assert not any(text in each for each in read)
    assert "working on" in made["logs/pod-0.log"]


@MANY
@given(TEXTS)
def test_a_report_says_the_same_whatever_the_prompts_are(secrets: list[str]) -> None:
    plain = [f"plain text number {number}" for number in range(len(secrets))]
    one, other = support.files(found(secrets)), support.files(found(plain))
    assert one.keys() == other.keys()
    for name in one:
        if name.endswith(".json"):
            assert shape(json.loads(one[name])) == shape(json.loads(other[name]))


def shape(value: Any) -> Any:
    """A JSON value without the texts that are for people."""
    match value:
        case dict():
            return {key: "" if key in ("message", "reason") else shape(each) for key, each in value.items()}
        case list():
            return [shape(each) for each in value]
        case _:
            return "" if isinstance(value, str) and " " in value else value


# Without beginnings in common: of these, pieces would be found too.
PLAIN = [f"{chr(97 + number) * 3}-secret-{chr(97 + number) * 3}" for number in range(HOLES + 2)]


def documents(given: Found) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in support.files(given).items() if name.endswith(".json")}


def test_a_report_has_what_helps() -> None:
    made = documents(found(PLAIN))
    job = made["job.json"]
    assert job["metadata"] == {
        "name": "film",
        "namespace": "studio",
        "uid": UID,
        "generation": 3,
        "creationTimestamp": AT,
        "annotations": {names.ANNOTATION_RESUME: AT},
        "labels": {},
    }
    assert [stage["name"] for stage in job["spec"]["stages"]] == ["image", "call", "join"]
    assert job["spec"]["stages"][0]["generate"] == {"diffusers": {"model": "maker/model-1", "pipeline": "WanPipeline"}}
    assert job["spec"]["stages"][1]["generate"] == {"http": True}
    assert job["spec"]["items"] == {"list": 2}
    assert job["spec"]["output"] == {"uri": "s3", "credentialsSecret": True}
    assert job["status"]["message"] == f"1 of 5 units done, {REMOVED} next"
    (told,) = job["status"]["notifications"]
    assert (told["state"], told["attempts"], told["result"]) == ("GivenUp", 2, f"no connection to {REMOVED}")
    assert not {"url", "id"} & told.keys()
    (failure,) = job["status"]["recentFailures"]
    assert (failure["index"], failure["reason"], failure["message"]) == (1, "Crashed", f"could not make {REMOVED}")
    assert job["status"]["conditions"][0]["message"] == f"about {REMOVED}"
    (pod,) = made["pods.json"]
    assert pod["log"] == "logs/pod-0.log"
    last = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert last["exitCode"] == 10
    assert last["message"]["units"] == [{"index": 0, "outcome": "failed", "message": REMOVED}]
    (event,) = made["events.json"]
    assert (event["reason"], event["count"], event["involvedObject"]["kind"]) == ("UnitFailed", 2, "GenerationJob")
    assert made["bucket.json"]["stages"] == {"image": {"done": {"objects": 1, "bytes": 10}}}
    assert made["versions.json"]["Kubernetes"] == "v1.36.0"


def test_the_job_s_own_name_is_not_taken_out_although_kubectl_repeats_it() -> None:
    log = support.files(found(PLAIN, "film: GenerationJob in studio, stage image of 3"))["logs/pod-0.log"]
    assert log == "film: GenerationJob in studio, stage image of 3"


def test_without_the_items_no_text_for_people_gets_in() -> None:
    given = found(PLAIN, "anything at all")
    blind = documents(Found(given.job, given.evidence, None, given.bucket, given.saved))
    assert blind["job.json"]["status"]["phase"] == "Running"
    assert blind["job.json"]["status"]["message"].startswith("[left out: ")
    assert blind["job.json"]["status"]["recentFailures"][0]["reason"] == "Crashed"
    files = support.files(Found(given.job, given.evidence, None, given.bucket, given.saved))
    assert "anything" not in files["logs/pod-0.log"]
    assert any("without the items" in each or "left out" in each for each in blind["problems.json"])


def test_a_job_with_more_text_than_can_be_looked_for_is_told_without_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carryon_jobs.scrubbing.MOST", 200)
    files = support.files(found(PLAIN, "anything at all"))
    assert "anything" not in files["logs/pod-0.log"]
    assert json.loads(files["job.json"])["spec"]["stages"][0]["name"] == "image"


def test_what_is_not_listed_is_left_out_and_looked_for() -> None:
    value = {"spec": {"suspend": True, "unheardOf": {"deep": ["whatever"]}, "seed": "no number"}}
    assert kept(value, JOB) == {"spec": {"suspend": True}}
    assert sorted(dropped(value, JOB)) == ["no number", "whatever"]


def test_every_field_of_a_spec_was_thought_of() -> None:
    """A new field of the spec has to be listed, even if only as `given` or `count`, so that somebody decides."""
    spec = JOB.shapes["spec"]
    assert isinstance(spec, type(JOB))
    fields = {field.alias or name for name, field in JobSpec.model_fields.items()}
    assert fields - set(spec.shapes) == set()


def test_objects_of_the_bucket_are_counted_without_their_names() -> None:
    unit = "clip/dunes/0123456789abcdef"
    objects = [
        (f"{unit}/clip.3fa9c0d1b2e4.mp4", 100),
        (f"{unit}/done.json", 10),
        (f"{unit}/journal/aaaaaaaaaaaa/uid/000001.safetensors", 50),
        (f"{unit}/attempts/uid.log", 5),
        ("_items/abc.jsonl", 7),
        ("what/is/this", 1),
    ]
    made = support.summary(objects, ["clip"])
    assert made["stages"]["clip"] == {
        "artifacts": {"objects": 1, "bytes": 100},
        "attempts": {"objects": 1, "bytes": 5},
        "done": {"objects": 1, "bytes": 10},
        "journal": {"objects": 1, "bytes": 50},
    }
    assert made["stages"]["other"] == {"_items": {"objects": 1, "bytes": 7}, "other": {"objects": 1, "bytes": 1}}
    assert "dunes" not in json.dumps(made)


def test_secrets_that_a_job_names_are_known_by_name() -> None:
    assert support.secrets_of(manifest(PLAIN)) == ["film-keys", "hook"]
    volumes = [{"name": "v", "secret": {"secretName": "files"}}]
    template = {"spec": {"volumes": volumes, "imagePullSecrets": [{"name": "pull"}]}}
    assert support.secrets_of({"spec": {"podTemplate": template}}) == ["files", "pull"]


def test_the_secret_of_the_default_store_is_one_of_a_job_that_names_no_output() -> None:
    reference = {"secretKeyRef": {"name": "house", "key": "AWS_SECRET_ACCESS_KEY"}}
    env = [{"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": reference}, {"name": "HOME", "value": "/scratch"}]
    # Of a service account: no program in the pod has it.
    at_work = {"spec": {"containers": [{"name": "worker", "env": env}], "imagePullSecrets": [{"name": "registry"}]}}
    assert support.secrets_of({"spec": {}}, [at_work]) == ["house"]
    assert support.secrets_of({"spec": {}}, default_store="house") == ["house"], "its pods may be gone"
    assert support.secrets_of({"spec": {"output": {"uri": "s3://mine"}}}, default_store="house") == []
    told = support.files(Found({"spec": {}}, Evidence(pods=[{**at_work, "metadata": {"name": "p"}}], unread=["house"])))
    assert "1 of the 1 Secrets" in told["README.txt"]


def test_where_a_secret_can_not_be_read_the_report_says_so_and_scrubs_by_patterns() -> None:
    raw = manifest(PLAIN)
    log = "uses AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\nthe horse is battery staple\n"
    pod = {"metadata": {"name": "film-1", "namespace": "default"}}
    evidence = Evidence(pods=[pod], logs={"film-1": log}, unread=["film-keys"], secrets=["the hook's own"])
    made = support.files(Found(raw, evidence))
    (problem,) = json.loads(made["problems.json"])
    assert problem.startswith("1 of the 2 Secrets that the job names could not be read")
    assert "only what looks like a key" in problem
    assert "Before you pass it on: 1 of the 2 Secrets" in made["README.txt"]
    assert "wJalrXUtnFEMI" not in made["logs/pod-0.log"]
    # A password that looks like any words is what nobody can know: that is why the report says so.
    assert "battery staple" in made["logs/pod-0.log"]
    assert json.loads(support.files(Found(raw, Evidence()))["problems.json"]) == []


def refused(name: str) -> Mapping[str, str]:
    raise OutOfReach(f'Secret "{name}" can not be read')


def test_a_bucket_that_can_not_be_read_is_told_and_the_rest_is_there() -> None:
    raw = manifest(PLAIN)
    packed = support.pack(Job(raw, refused), Evidence(versions={"carryon": "0.1.0"}))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert "README.txt" in archive.namelist()
        (problem,) = json.loads(archive.read("problems.json"))
    assert problem.startswith("the bucket: ")
