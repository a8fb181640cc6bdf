"""What status says: why a job waits for a person, how units ended, and what kubectl shows."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from kubectls import needs_kubectl
from plane import Plane, claim, condition, failed, succeeded, until
from reels import begun_units, film, reel, scenes, stage, versions

CLIP = 'head -c 64 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"'
SECRETS = "/api/v1/namespaces/default/secrets"


def clips(
    name: str, begun: Path, script: str = CLIP, *, stage_fields: dict[str, Any] | None = None, **spec: Any
) -> Any:
    made = reel(name, **{"clips": 2, **spec})
    made["spec"]["stages"] = [stage("clip", begun, script, **(stage_fields or {}))]
    return made


def test_a_pod_that_lacks_a_secret_is_stalled_until_the_secret_appears(plane: Plane, begun: Path) -> None:
    asks = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    template = {"spec": {"containers": [{"name": "worker", "env": [asks]}]}}
    script = 'echo "$TOKEN" > "$CARRYON_OUTPUT/clip.txt"'
    plane.apply(clips("lacking", begun, script, podTemplate=template))
    seen = plane.wait_for("lacking", lambda found: condition(found, "Stalled"))
    told = claim(seen, "Stalled")
    assert told["reason"] == "CreateContainerConfigError"
    assert 'secret "hub" not found' in told["message"]
    assert seen["status"]["phase"] == "Stalled"
    assert 'secret "hub" not found' in seen["status"]["message"]
    assert begun_units(begun) == []

    token = base64.b64encode(b"open sesame").decode()
    plane.request("POST", SECRETS, {"metadata": {"name": "hub"}, "data": {"token": token}})
    seen = plane.wait_for("lacking", succeeded)
    assert not condition(seen, "Stalled")
    assert begun_units(begun) == ["clip/0", "clip/1"]
    assert seen["status"]["counters"]["failures"] == seen["status"]["counters"]["disruptions"] == 0
    assert versions(plane.job_folder("lacking"))["clip/0"][0].text == "open sesame\n"


@pytest.mark.slow
def test_a_job_that_no_node_takes_is_stalled_until_there_is_room(plane: Plane, begun: Path) -> None:
    job = clips("homeless", begun)
    job["spec"]["stages"][0]["nodeSelector"] = {"disk": "fast"}
    plane.apply(job)
    seen = plane.wait_for("homeless", lambda found: condition(found, "Stalled"), 90)
    told = claim(seen, "Stalled")
    assert told["reason"] == "Unschedulable"
    assert "node" in told["message"]
    node = plane.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    labels = {"metadata": {"labels": {"disk": "fast"}}}
    plane.request("PATCH", f"/api/v1/nodes/{node}", labels, "application/merge-patch+json")
    seen = plane.wait_for("homeless", succeeded)
    assert not condition(seen, "Stalled")
    assert seen["status"]["counters"]["failures"] == 0


@pytest.mark.parametrize(
    ("image", "reasons"),
    [
        ("Not An Image", {"InvalidImageName"}),
        ("registry.example/no-such-worker:1", {"ErrImagePull", "ImagePullBackOff"}),
    ],
)
def test_a_job_whose_image_can_not_be_had_is_stalled_and_goes_on_when_it_is_corrected(
    plane: Plane, begun: Path, image: str, reasons: set[str]
) -> None:
    job = clips("misnamed", begun)
    job["spec"]["stages"][0]["image"] = image
    plane.apply(job)
    seen = plane.wait_for("misnamed", lambda found: condition(found, "Stalled"))
    assert claim(seen, "Stalled")["reason"] in reasons
    waited = {pod["metadata"]["uid"] for pod in plane.pods("misnamed")}
    del job["spec"]["stages"][0]["image"]
    plane.apply(job)
    seen = plane.wait_for("misnamed", succeeded)
    assert seen["status"]["counters"]["failures"] == seen["status"]["counters"]["disruptions"] == 0
    assert waited.isdisjoint(pod["metadata"]["uid"] for pod in plane.pods("misnamed"))


def test_the_end_of_a_failed_attempts_log_lies_in_the_bucket(plane: Plane, begun: Path) -> None:
    script = 'if [ "$CARRYON_ITEM" = 1 ]; then echo "the colour table is empty" >&2; exit 3; fi; ' + CLIP
    retry = {"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s"}}
    plane.apply(clips("logged", begun, script, retry=retry))
    plane.wait_for("logged", failed)
    logs = sorted(plane.job_folder("logged").glob("clip/1/*/attempts/*.log"))
    assert len(logs) == 2
    assert all("the colour table is empty" in log.read_text() for log in logs)
    assert list(plane.job_folder("logged").glob("clip/0/*/attempts/*.log")) == []
    # Their pods stay for kubectl logs, too.
    kept = {pod["metadata"]["uid"] for pod in plane.pods("logged")}
    assert kept == {log.stem for log in logs}


def test_skipped_and_filtered_units_count_as_done_and_nothing_is_made_of_them(plane: Plane, begun: Path) -> None:
    job = film("outcomes", begun, items={"list": scenes(4)})
    job["spec"]["stages"][0] = stage(
        "image",
        begun,
        """
        case "$CARRYON_ITEM" in
          scene-1) echo '{"outcome": "skipped", "reason": "no light"}' > "$CARRYON_OUTCOME";;
          scene-2) echo '{"outcome": "filtered", "reason": "too dark"}' > "$CARRYON_OUTCOME";;
          *) echo "image of $1" > "$CARRYON_OUTPUT/image.txt";;
        esac
        """,
        "{{ item.prompt }}",
    )
    plane.apply(job)
    status = plane.wait_for("outcomes", succeeded)["status"]
    assert status["progress"] == "9/9"
    assert status["units"]["outcomes"] == {"generated": 5, "skipped": 3, "filtered": 1}
    images = [f"image/scene-{number}" for number in range(4)]
    assert begun_units(begun) == sorted([*images, "clip/scene-0", "clip/scene-3", "reel/job"])
    made = versions(plane.job_folder("outcomes"))
    (skipped,) = made["image/scene-1"]
    assert (skipped.done["outcome"], skipped.done["reason"], skipped.contents) == ("skipped", "no light", {})
    assert made["reel/job"][0].text == "clip of prompt 0\nclip of prompt 3\n"


def test_a_reel_is_made_of_what_there_is_where_the_policy_allows_it(plane: Plane, begun: Path) -> None:
    job = film("partial", begun, items={"list": scenes(4)}, retry={"perUnit": 1, "rounds": 0})
    broken = '[ "$CARRYON_ITEM" != scene-2 ]; sed "s/image/clip/" "$1" > "$CARRYON_OUTPUT/clip.txt"'
    job["spec"]["stages"][1] = stage(
        "clip", begun, broken, "{{ inputs.image }}", after="image", success={"minPercent": 75}
    )
    plane.apply(job)
    seen = plane.wait_for("partial", succeeded)
    assert claim(seen, "Succeeded")["reason"] == "SuccessPolicyHolds"
    assert (seen["status"]["units"]["succeeded"], seen["status"]["units"]["failed"]) == (8, 1)
    made = versions(plane.job_folder("partial"))
    assert made["reel/job"][0].text.splitlines() == [f"clip of prompt {number}" for number in (0, 1, 3)]


@needs_kubectl
def test_kubectl_shows_waits_and_describes(plane: Plane, begun: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "job.json"
    manifest.write_text(json.dumps(clips("shown", begun)))
    plane.kubectl("apply", "-f", str(manifest))
    plane.kubectl("wait", "gj/shown", "--for=condition=Succeeded", "--timeout=60s")
    header, row = plane.kubectl("get", "gj", "shown").splitlines()
    assert header.split() == ["NAME", "PHASE", "PROGRESS", "FAILED", "ACTIVE", "AGE", "MESSAGE"]
    name, phase, progress, broken, active, _, message = row.split(maxsplit=6)
    assert (name, phase, progress, broken, active) == ("shown", "Succeeded", "2/2", "0", "0")
    assert message.strip() == "2 of 2 units done"
    described = plane.kubectl("describe", "gj", "shown")
    assert "Succeeded  " in described
    events = [line for line in described.splitlines() if "carryon" in line and "Normal" in line]
    assert any("Succeeded" in line for line in events), described
    # kstatus: what waits for a resource looks at generations.
    job = plane.get("shown")
    assert job["status"]["observedGeneration"] == job["metadata"]["generation"]


def test_a_failing_job_tells_little_and_once(plane: Plane, begun: Path) -> None:
    retry = {"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s", "factor": 1}}
    plane.apply(clips("silent", begun, "exit 3", retry=retry))
    plane.wait_for("silent", failed)

    def told() -> dict[str, int]:
        events = plane.request("GET", "/api/v1/namespaces/default/events")["items"]
        ours = [each for each in events if each["involvedObject"].get("name") == "silent"]
        found: dict[str, int] = {}
        for each in ours:
            found[each["reason"]] = found.get(each["reason"], 0) + 1
        return found

    until(lambda: "Failed" in told())
    assert told()["Failed"] == 1
    assert told()["UnitFailed"] <= 4
    assert set(told()) <= {"Failed", "UnitFailed"}


def test_pods_go_once_they_are_counted_but_for_the_last_three_that_failed(plane: Plane, begun: Path) -> None:
    script = 'if [ "$CARRYON_ITEM" -lt 5 ]; then echo "no colour $CARRYON_ITEM" >&2; exit 3; fi; ' + CLIP
    plane.apply(clips("swept", begun, script, clips=8, retry={"perUnit": 1, "rounds": 0}))
    plane.wait_for("swept", failed)
    until(lambda: len(plane.pods("swept")) == 3)
    kept = plane.pods("swept")
    assert {pod["status"]["phase"] for pod in kept} == {"Failed"}
    pod = kept[0]["metadata"]
    (item,) = json.loads(pod["annotations"][names.ANNOTATION_UNITS])
    if shutil.which("kubectl"):
        assert f"no colour {item}" in plane.kubectl("logs", pod["name"])
    logs = plane.job_folder("swept").glob("clip/*/*/attempts/*.log")
    assert sorted(log.parts[-4] for log in logs) == ["0", "1", "2", "3", "4"], "of those that went, too"
    until(lambda: plane.get("swept")["status"]["recorded"] and len(plane.get("swept")["status"]["recorded"]) == 3)


def test_a_pod_template_is_merged_and_what_is_ours_wins_with_a_warning(plane: Plane, begun: Path) -> None:
    template = {
        "metadata": {"labels": {"team": "film"}},
        "spec": {
            "restartPolicy": "Always",
            "priorityClassName": "low",
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "containers": [
                {
                    "name": "worker",
                    "securityContext": {"privileged": True},
                    "env": [{"name": "GREETING", "value": "hello"}],
                }
            ],
        },
    }
    script = f'echo "$GREETING" > "$CARRYON_OUTPUT/clip.txt"; while [ ! -e {begun}.go ]; do sleep 0.1; done'
    own = {"tolerations": [{"key": "spot", "operator": "Exists"}], "resources": {"requests": {"memory": "20Mi"}}}
    plane.apply(clips("merged", begun, script, clips=1, queueName="film", podTemplate=template, stage_fields=own))
    until(lambda: begun_units(begun) == ["clip/0"])
    (pod,) = plane.pods("merged")
    Path(f"{begun}.go").touch()
    spec, labels = pod["spec"], pod["metadata"]["labels"]
    assert (labels["team"], labels[names.LABEL_QUEUE]) == ("film", "film")
    assert (spec["restartPolicy"], spec["priorityClassName"]) == ("Never", "low")
    assert [each["key"] for each in spec["tolerations"]] == ["spot"], "the stage's own go before the template's"
    container = spec["containers"][0]
    assert not container["securityContext"].get("privileged")
    assert container["resources"]["requests"]["memory"] == "20Mi"
    plane.wait_for("merged", succeeded)
    assert versions(plane.job_folder("merged"))["clip/0"][0].text == "hello\n"

    def warned() -> list[str]:
        events = plane.request("GET", "/api/v1/namespaces/default/events")["items"]
        about = [each for each in events if each["involvedObject"].get("name") == "merged"]
        return sorted(each["message"] for each in about if each["reason"] == "PodTemplateOverridden")

    until(lambda: len(warned()) == 2)
    assert "restartPolicy" in warned()[1]
    assert "securityContext" in warned()[0]


@needs_kubectl
def test_waiting_for_the_end_ends_however_a_job_ends(plane: Plane, begun: Path) -> None:
    plane.apply(clips("doomed", begun, "exit 3", retry={"perUnit": 1, "rounds": 0}))
    plane.kubectl("wait", "gj/doomed", "--for=condition=Finished", "--timeout=60s")
    plane.kubectl("wait", "gj/doomed", "--for=condition=Failed", "--timeout=1s")
    plane.kubectl("wait", "gj/doomed", "--for=condition=Succeeded=false", "--timeout=1s")
    job = plane.get("doomed")
    assert job["status"]["observedGeneration"] == job["metadata"]["generation"]
    held = {each["type"] for each in job["status"]["conditions"] if each["status"] == "True"}
    assert held == {"Accepted", "Failed", "Finished", "Stalled"}, "for tools that know kstatus a failed job is stalled"
    for each in job["status"]["conditions"]:
        assert each["observedGeneration"] == job["metadata"]["generation"]
        assert each["reason"]
