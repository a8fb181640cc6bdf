"""What commands for kubectl are held to: its own options where it is installed, and what our jobs have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import yaml

from carryon_core import crd, names
from carryon_core.spec import JobSpec
from carryon_core.status import ConditionType
from documents import ROOT, Command, Wrong

_RESOURCES: Final[Mapping[str, Sequence[str]]] = {
    "GenerationJob": (names.SHORT_NAME, names.PLURAL, names.SINGULAR, names.CRD_NAME),
    "CustomResourceDefinition": ("crd",),
    "other": (
        *("all", "pod", "pods", "events", "secret", "secrets", "configmap", "namespace", "namespaces", "node", "nodes"),
        *("lease", "deployment", "deployments", "pvc", "persistentvolumeclaim", "service", "serviceaccount"),
        *("localqueue", "clusterqueue", "workloads", "resourcequota", "networkpolicy", "application"),
    ),
}
_VERBS: Final = frozenset(
    ("annotate", "api-resources", "apply", "auth", "cordon", "create", "delete", "describe", "diff", "drain", "edit")
) | {"exec", "explain", "get", "label", "logs", "patch", "port-forward", "rollout", "uncordon", "wait", "version"}
_NESTED: Final = {
    **dict.fromkeys(("auth", "rollout", "configmap", "namespace", "token", "rolebinding", "clusterrolebinding"), 1),
    "secret": 2,
}
"""Verbs, and things to create, that are more than one word -> how many follow."""
_REQUESTS: Final = (
    names.ANNOTATION_RESUME,
    names.ANNOTATION_RESTART,
    names.ANNOTATION_RETRY,
    names.ANNOTATION_CONFIRM_ITEMS,
)


def check(command: Command) -> None:
    """Hold a command to kubectl's verbs, to resources that there are, and to what a job has and acts on.

    Raises:
        Wrong: It would be refused, or do nothing.
    """
    verb = next((each for each in command.words[1:] if each in _VERBS), None)
    if verb is None:
        raise Wrong(f"{command}: names no verb of kubectl's")
    options, rest = _options(command, verb)
    kind = _kind(verb, rest)
    if verb == "apply":
        _applied(command, options)
    if kind != "GenerationJob":
        return
    for patch in options.get("-p", []) + options.get("--patch", []):
        _patched(json.loads(patch))
    for condition in options.get("--for", []):
        if condition.startswith("condition=") and condition.removeprefix("condition=") not in [*ConditionType]:
            raise Wrong(f"a job has no {condition}")
    for form in options.get("-o", []):
        _queried(form)
    if verb == "annotate":
        for word in rest[2:]:
            if word.startswith(f"{names.GROUP}/") and word.partition("=")[0] not in _REQUESTS:
                raise Wrong(f"nobody acts on {word}")


def _options(command: Command, verb: str) -> tuple[dict[str, list[str]], list[str]]:
    """Options with what they are given, and the other words behind the verb."""
    switches = _SWITCHES | (options_of(verb)[1] if shutil.which("kubectl") else set())
    options: dict[str, list[str]] = {}
    rest: list[str] = []
    at = command.words.index(verb)
    waiting = iter((*command.words[1:at], *command.words[at + 1 :]))
    for word in waiting:
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, given = word.partition("=")
        if not equals and name not in switches:
            given = next(waiting, "")
        options.setdefault(name, []).append(given)
    return options, rest


_SWITCHES: Final = {
    *("--all", "-A", "--all-namespaces", "--client", "-f-", "--follow", "--ignore-not-found", "--overwrite"),
    *("--previous", "--server-side", "-w", "--watch", "--wait", "--dry-run", "--ignore-daemonsets"),
    *("--delete-emptydir-data", "--force", "--force-conflicts", "--no-headers"),
}


@cache
def options_of(verb: str) -> tuple[frozenset[str], set[str]]:
    """Options that this machine's kubectl takes after a verb, and those of them that are given nothing."""
    told = ""
    for arguments in ([*verb.split(), "--help"], ["options"]):
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        ran = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, env=environment, timeout=60)
        told += ran.stdout
    found, switches = set(), set()
    for line in re.findall(r"^ {4}(-.*):$", told, re.MULTILINE):
        given = [each.strip().partition("=") for each in line.split(", ")]
        found |= {name for name, _, _ in given}
        if given[-1][2] in ("true", "false"):
            switches |= {name for name, _, _ in given}
    return frozenset(found), switches


def refused(command: Command) -> str | None:
    """What the kubectl that is installed would refuse of a command's options; None where nothing."""
    verb = next(each for each in command.words[1:] if each in _VERBS)
    options, rest = _options(command, verb)
    deeper = _NESTED.get(rest[0] if verb == "create" and rest else verb, 0)
    known, _ = options_of(" ".join([verb, *rest[:deeper]]))
    return next((f"{verb} takes no {each}" for each in options if each not in known), None)


def _kind(verb: str, rest: Sequence[str]) -> str:
    if verb not in ("annotate", "delete", "describe", "edit", "explain", "get", "label", "patch", "wait") or not rest:
        return ""
    for named in re.split(r"[/.]", rest[0])[0].split(","):
        kind = next((kind for kind, known in _RESOURCES.items() if named in known), None)
        if kind is None:
            raise Wrong(f"nothing here knows a resource {named}")
    return kind or ""


def _applied(command: Command, options: Mapping[str, Sequence[str]]) -> None:
    for file in (*options.get("-f", ()), *options.get("--filename", ())):
        if file == "-" and command.stdin is not None:
            for document in yaml.safe_load_all(command.stdin):
                if not {"apiVersion", "kind", "metadata"} <= document.keys():
                    raise Wrong("what is applied is no object")
        if re.match(r"(examples|crds|charts)/", file) and not (ROOT / file).exists():
            raise Wrong(f"there is no {file}")


_BASE: Final = {
    "items": {"count": 1},
    "stages": [{"name": "clip", "generate": {"command": {"args": ["true"]}}}],
}


def _patched(patch: Mapping[str, Any]) -> None:
    if unknown := patch.keys() - {"spec", "metadata"}:
        raise Wrong(f"a patch of a job changes no {', '.join(unknown)}")
    JobSpec.model_validate({**_BASE, **patch.get("spec", {})})
    for annotation in patch.get("metadata", {}).get("annotations", {}):
        if annotation.startswith(f"{names.GROUP}/") and annotation not in _REQUESTS:
            raise Wrong(f"nobody acts on {annotation}")


@cache
def _schema() -> Any:
    return crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _queried(form: str) -> None:
    """Fields that a jsonpath names are fields of a job."""
    if not form.startswith("jsonpath="):
        return
    for path in re.findall(r"\{(?:range )?\.((?:status|spec)[\w.]*)", form):
        node = _schema()
        for name in path.split("."):
            node = node.get("items", node).get("properties", {}).get(name)
            if node is None:
                raise Wrong(f"a job has no {path}")
