"""Every request that kubectl 1.32 made to a Kubernetes 1.36.2 server, command by command, as recorded.

The log cuts bodies after 300 characters, and protobuf ones to their length: what was cut off is put back from the files
that the commands were given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import protobufs

FOLDER = Path(__file__).parent / "conformance" / "golden"
CUT = 300
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
PROTOBUF = "application/vnd.kubernetes.protobuf"

Job = dict[str, Any]


def media_job(prompt: str) -> Job:
    """mj.yaml, and mj2.yaml with another prompt."""
    return {
        "apiVersion": "media.example.com/v1alpha1",
        "kind": "MediaJob",
        "metadata": {"labels": {"app": "x"}, "name": "j1", "namespace": "default"},
        "spec": {"prompt": prompt},
    }


POD: Job = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p1", "namespace": "default"},
    "spec": {"containers": [{"image": "bb", "name": "c"}]},
}
CRD: Job = yaml.safe_load((FOLDER / "crd.yaml").read_text())
FILES = {"crd.yaml": CRD, "mj.yaml": media_job("hello"), "mj2.yaml": media_job("world"), "pod.yaml": POD}


@dataclass
class Request:
    """One request, and how it was answered: status and media type."""

    method: str
    path: str
    status: int
    media_type: str
    accept: str = "application/json"
    content_type: str = ""
    body: str = ""
    masked: bool = False
    streams: bool = False


@dataclass
class Command:
    """One command, its exit code and its requests."""

    title: str
    line: str
    code: int = 0
    requests: list[Request] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def given(self) -> Job:
        """The file that the command was given."""
        name = re.search(r"-f (\S+\.yaml)", self.line)
        assert name is not None, self.line
        return FILES[name[1]]


LINE = re.compile(
    r"  (?P<method>[A-Z]+)(?P<stream> \[stream\])? (?P<path>/\S*) -> (?P<status>\d+) ?(?P<type>.*?)"
    r"(?:  ACC=(?P<accept>\S+))?(?:  CT=(?P<content>\S+))?$"
)


def commands() -> Iterator[Command]:
    """The log, in order. Lines between two commands are notes of the one before them."""
    made: Command | None = None
    for line in (FOLDER / "kubectl-requests.log").read_text().splitlines():
        if line.startswith("######## "):
            if made is not None:
                yield made
            title, _, rest = line.removeprefix("######## ").partition(" :: ")
            made = Command(title, rest)
        elif made is None:
            continue
        elif found := LINE.match(line):
            kind = found["type"].strip()
            made.requests.append(
                Request(
                    method=found["method"],
                    path=found["path"],
                    status=int(found["status"]),
                    media_type="" if kind == "masked" else kind,
                    accept=found["accept"] or "application/json",
                    content_type=found["content"] or "",
                    masked=kind == "masked",
                    streams=found["stream"] is not None,
                )
            )
        elif line.startswith("      body: "):
            made.requests[-1].body = line.removeprefix("      body: ")
        elif code := re.match(r"rc=(\d+) ", line):
            made.code = int(code[1])
        else:
            made.notes.append(line)
    assert made is not None
    yield made


def written(value: Job) -> str:
    """The annotation of `kubectl apply`: the manifest in Go's compact JSON, sorted, and a line break."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n"


def with_annotation(value: Job, plain: Job) -> Job:
    made = json.loads(json.dumps(value))
    made["metadata"].setdefault("annotations", {})[ANNOTATION] = written(plain)
    return dict(made)


PROTOBUF_BODIES = {
    "/api/v1/namespaces/default/configmaps": protobufs.config_map("c1", a="b"),
    "/api/v1/namespaces/default/secrets": protobufs.secret("s1", a=b"b"),
    "/api/v1/namespaces": protobufs.namespace("n1"),
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": protobufs.own_access(
        "default", "create", "media.example.com", "mediajobs"
    ),
    "/apis/batch/v1/namespaces/default/jobs": protobufs.batch_job("jb", "bb"),
}


def whole(command: Command, request: Request, live: Job) -> str | bytes | None:
    """The body that was sent, where need be made anew from the command's file and the live object."""
    body = request.body
    if request.content_type == PROTOBUF:
        made = PROTOBUF_BODIES[request.path.partition("?")[0]]
        assert f"<pb {len(made)}>" == body, f"{body} has become {len(made)} bytes"
        return made
    if not body or len(body) < CUT:
        version = live.get("metadata", {}).get("resourceVersion", "")
        return re.sub(r'"resourceVersion":"\d+"', f'"resourceVersion":"{version}"', body) or None
    plain = command.given
    if request.content_type == "application/json-patch+json":
        # kubectl hands its fields of `kubectl apply` over to server-side apply.
        managed = [each for each in live["metadata"]["managedFields"] if each["manager"] != "kubectl-client-side-apply"]
        return json.dumps([{"op": "replace", "path": "/metadata/managedFields", "value": managed}])
    if request.content_type == "application/apply-patch+yaml":
        made = {**plain, "metadata": {**plain["metadata"]}}
        return _checked(body, with_annotation(made, plain))
    annotated = {**plain, "metadata": {"annotations": {}, **plain["metadata"]}}
    if request.method == "PATCH":
        change: Job = {"metadata": {"annotations": {ANNOTATION: written(annotated)}}}
        return _checked(body, {**change, "spec": plain["spec"]})
    return _checked(body, with_annotation(plain, annotated))


def _checked(cut: str, value: Job) -> str:
    made = json.dumps(value, separators=(",", ":"), sort_keys=True)
    assert made.startswith(cut[:CUT]), f"made anew otherwise than it was:\n{made[:CUT]}\n{cut[:CUT]}"
    return made
