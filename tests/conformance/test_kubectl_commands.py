"""kubectl's commands one by one, with every version that is installed: the exit code and the words a cluster gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from kubectls import Kubectl, needs_kubectl, newest_first

JOB = """
apiVersion: media.example.com/v1alpha1
kind: MediaJob
metadata: {name: j1, namespace: default, labels: {app: x}}
spec: {prompt: hello}
"""
NO_FRAMES = JOB.replace("prompt: hello", "prompt: hello, frames: 0")
DONE = '{"status":{"phase":"Done","conditions":[{"type":"Ready","status":"True"}]}}'
POD = """
apiVersion: v1
kind: Pod
metadata: {name: p1, namespace: default, labels: {app: x}}
spec: {schedulerName: nobody, containers: [{name: c, image: "bb:1"}]}
"""


@dataclass(frozen=True)
class Step:
    """A command, what it prints (a pattern, over both streams), and its exit code."""

    line: str
    prints: str = ""
    code: int = 0
    given: str = ""


# In order: each finds what those before it have left.
STEPS = [
    Step("version", r"Server Version: v1\.\d+"),
    Step("cluster-info", r"control plane.* is running at"),
    Step("get --raw /healthz", r"^ok$"),
    Step("get --raw /readyz", r"^ok$"),
    Step("api-versions", r"(?m)^media\.example\.com/v1alpha1$"),
    Step("api-resources --api-group media.example.com", r"mediajobs +mj +media\.example\.com/v1alpha1 +true +MediaJob"),
    Step("api-resources --verbs list,watch --namespaced -o name", r"(?m)^pods$"),
    Step("explain mj.spec.frames", r"FIELD: frames <integer>"),
    Step("explain mj --recursive", r"prompt\s+<string> -required-"),
    Step("explain pod.spec.containers.livenessProbe", r"Periodic probe of container liveness"),
    Step("explain secret", r"base64 encoded string"),
    Step("explain crd.spec.names", r"shortNames"),
    Step("explain mj.spec.nothing", r'field "nothing" does not exist', 1),
    Step("apply -f -", r"mediajob.media.example.com/j1 created", given=JOB),
    Step("apply -f -", r"mediajob.media.example.com/j1 unchanged", given=JOB),
    Step("apply -f -", r"mediajob.media.example.com/j1 configured", given=JOB.replace("hello", "world")),
    Step("apply -f -", r'strict decoding error: unknown field "spec.promt"', 1, JOB.replace("prompt", "promt")),
    Step("apply --validate=warn -f -", r'Warning: unknown field "spec.extra"', 0, JOB.replace("hello", "w, extra: 1")),
    Step("apply --validate=ignore -f -", r"configured|unchanged", 0, JOB.replace("hello", "world, extra: 1")),
    Step("apply -f -", r"spec.frames in body should be greater than or equal to 1", 1, NO_FRAMES),
    Step("apply --server-side -f -", r"j1 serverside-applied", given=JOB.replace("hello", "server")),
    Step("apply --server-side -f -", r"j1 serverside-applied", given=JOB.replace("hello", "again")),
    Step("apply --server-side --field-manager other -f -", r'conflict with "kubectl"', 1, JOB),
    Step("apply --server-side --field-manager other --force-conflicts -f -", r"serverside-applied", given=JOB),
    Step("apply --dry-run=server -f -", r"server dry run", given=JOB.replace("hello", "dry")),
    Step("apply --dry-run=client -f -", r"\(dry run\)", given=JOB.replace("hello", "dry")),
    Step("diff -f -", r"\+  prompt: other", 1, JOB.replace("hello", "other")),
    Step("get mj", r"NAME +PHASE +AGE\nj1 "),
    Step("get mj j1 -o wide", r"j1 "),
    Step("get mj -o name", r"^mediajob.media.example.com/j1$"),
    Step("get mj j1 -o jsonpath={.spec.prompt}", r"^hello$"),
    Step("get mj j1 -o yaml --show-managed-fields", r"manager: other"),
    Step("get mj -A -l app=x,other!=y --field-selector metadata.name=j1", r"default +j1"),
    Step("get mj --sort-by=.metadata.name --no-headers -L app", r"^j1 .* x$"),
    Step("get mj,pods --ignore-not-found -o name", r"mediajob.media.example.com/j1"),
    Step("get mj nothing", r'Error from server \(NotFound\): mediajobs.media.example.com "nothing" not found', 1),
    Step("get nothing", r'the server doesn\'t have a resource type "nothing"', 1),
    Step("describe mj j1", r"Prompt: +hello"),
    Step("patch mj j1 --type merge -p {\"spec\":{\"frames\":3}}", r"j1 patched"),
    Step("patch mj j1 --type merge -p {\"spec\":{\"frames\":3}}", r"j1 patched \(no change\)"),
    Step('patch mj j1 --type json -p [{"op":"replace","path":"/spec/frames","value":4}]', r"j1 patched"),
    Step('patch mj j1 --type json -p [{"op":"test","path":"/spec/frames","value":5}]', r"rejected our request", 1),
    Step("patch mj j1 -p {\"spec\":{\"frames\":3}}", r"strategic-merge-patch\+json is not supported", 1),
    Step(f"patch mj j1 --type merge --subresource status -p {DONE}", r"j1 patched"),
    Step("get mj j1 --subresource status -o jsonpath={.status.phase}", r"^Done$"),
    Step("wait mj/j1 --for=condition=Ready --timeout=20s", r"condition met"),
    Step("wait mj/j1 --for=jsonpath={.status.phase}=Done --timeout=20s", r"condition met"),
    Step("wait mj/j1 --for=jsonpath={.status.phase}=Other --timeout=1s", r"timed out waiting", 1),
    Step("label mj j1 z=1", r"j1 labeled"),
    Step("label mj j1 z=2", r"already has a value", 1),
    Step("label mj --all z=2 --overwrite", r"j1 labeled"),
    Step("label mj j1 z-", r"j1 unlabeled"),
    Step("annotate mj j1 note=text", r"j1 annotated"),
    Step("replace -f -", r"j1 replaced", given=JOB),
    Step("scale mj j1 --replicas=2", r"NotFound|could not find the requested resource", 1),
    Step("create -f -", r'mediajobs.media.example.com "j1" already exists', 1, JOB),
    Step("create -f -", r"pod/p1 created", given=POD),
    Step("apply -f -", r'unknown field "spec.containers\[0\].imge"', 1, POD.replace("image", "imge")),
    Step("get pod p1", r"p1 +0/1 +Pending +0"),
    Step("set image pod/p1 c=bb:2", r"pod/p1 image updated"),
    Step('patch pod p1 -p {"spec":{"containers":[{"name":"c","image":"bb:3"}]}}', r"pod/p1 patched"),
    Step('patch pod p1 -p {"spec":{"containers":[{"name":"c","args":["x"]}]}}', r"updates may not change fields", 1),
    Step("get pod p1 -o jsonpath={.spec.containers[*].image}", r"^bb:3$"),
    Step("describe pod p1", r"QoS Class: +BestEffort"),
    Step("logs p1", r"^$"),
    Step("logs -l app=x --tail=5", r"^$"),
    Step("events", ""),
    Step("get events", ""),
    Step("get all", r"pod/p1"),
    Step("get ns", r"kube-system +Active"),
    Step("auth can-i create mj", r"^yes$"),
    Step("delete pods -l app=x --wait=false", r'pod "p1" .*deleted'),
    Step("wait pod/p1 --for=delete --timeout=20s", ""),
    Step("delete mj j1", r'"j1" deleted'),
    Step("delete mj j1", r'mediajobs.media.example.com "j1" not found', 1),
    Step("delete mj j1 --ignore-not-found", r"^$"),
    Step("delete mj --all", r"No resources found"),
    Step("delete ns nosuch", r'namespaces "nosuch" not found', 1),
]  # fmt: skip


@pytest.fixture(scope="module", params=newest_first(29))
def kubectl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Any) -> Kubectl:
    return Kubectl.of(request.param, tmp_path_factory, server)


@needs_kubectl
def test_every_command_does_what_it_does_on_a_cluster(kubectl: Kubectl) -> None:
    wrong = []
    for step in STEPS:
        ended = kubectl.run(*step.line.split(" "), text=step.given or None)
        printed = (ended.stdout + ended.stderr).strip()
        if ended.returncode != step.code or not re.search(step.prints, printed):
            wrong.append(
                f"kubectl {step.line}\n  wanted {step.code}: {step.prints}\n  got {ended.returncode}: {printed}"
            )
    assert not wrong, "\n".join(wrong)
