"""What a podTemplate may set: where pods run and what they see, never what they are allowed to do.

A list of what is allowed, because a list of what is dangerous is never complete. What the operator sets itself in
every pod is ignored with a warning, because templates are often copied from elsewhere; the rest is refused. Whether a
value is right in itself (a quantity, an affinity) is the API server's to say when it is given the pod.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias

from carryon_core import names
from carryon_core.errors import SpecError
from carryon_core.spec import JobSpec

GRACE_LONGEST: Final = 3600
"""Seconds a pod may take to end: so long would a suspended job hold its GPUs."""

Template: TypeAlias = dict[str, Any]
_Clean: TypeAlias = Callable[[str, Any, list[str]], Any]
"""(path, value, warnings) -> the value without what is ignored, or `_IGNORED`; raises SpecError where it is refused."""

_IGNORED: Final = object()
_RESERVED_ENV: Final = ("CARRYON_", "AWS_")
_OWN_ENV: Final = ("HOME", "TMPDIR")
_RESERVED_DOMAINS: Final = (
    names.GROUP,
    # Annotations that loosen AppArmor and seccomp from outside the securityContext.
    "security.alpha.kubernetes.io",
    "security.beta.kubernetes.io",
)
_MERGED_BY: Final = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
_DEEPEST: Final = 50
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def cleaned(template: Mapping[str, Any], path: str = "spec.podTemplate") -> tuple[Template, tuple[str, ...]]:
    """A podTemplate without what the operator sets itself, and a warning for each such part.

    Args:
        template: As it stands in the spec.
        path: Where it stands.

    Raises:
        SpecError: It sets what it may not: InvalidPodTemplate, with the path and what to change.
    """
    warnings: list[str] = []
    _check_plain(path, template, _DEEPEST)
    clean: Template = _TEMPLATE(path, template, warnings)
    return clean, tuple(warnings)


def merged(job: Mapping[str, Any], stage: Mapping[str, Any]) -> Template:
    """A job's podTemplate with a stage's over it, both cleaned.

    Mappings are merged key by key; variables, volumes, mounts and the container one by one; of all else the stage's
    goes instead of the job's.
    """
    made = dict(job)
    for key, value in stage.items():
        below = made.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            made[key] = merged(below, value)
        elif isinstance(below, list) and isinstance(value, list) and key in _MERGED_BY:
            made[key] = _merged_lists(below, value, _MERGED_BY[key], whole=key != "containers")
        else:
            made[key] = value
    return made


def of_stage(spec: JobSpec, stage: int) -> Template:
    """What the podTemplates of a job and of one of its stages come to, cleaned: what pods of that stage get.

    Raises:
        SpecError: As `cleaned`.
    """
    below, over = spec.pod_template or {}, spec.stages[stage].pod_template or {}
    return merged(cleaned(below)[0], cleaned(over, _path(spec, stage))[0])


def check_templates(spec: JobSpec) -> tuple[str, ...]:
    """The warnings about all podTemplates of a job.

    Raises:
        SpecError: As `cleaned`.
    """
    warnings = cleaned(spec.pod_template)[1] if spec.pod_template is not None else ()
    for index, stage in enumerate(spec.stages):
        if stage.pod_template is not None:
            warnings += cleaned(stage.pod_template, _path(spec, index))[1]
    return warnings


def _path(spec: JobSpec, stage: int) -> str:
    return f"spec.stages[{spec.stages[stage].name}].podTemplate"


def _merged_lists(
    below: Sequence[Mapping[str, Any]], over: Sequence[Mapping[str, Any]], by: str, *, whole: bool
) -> list[Mapping[str, Any]]:
    made = {each[by]: each for each in below}
    for each in over:
        made[each[by]] = each if whole or each[by] not in made else merged(made[each[by]], each)
    return list(made.values())


def _check_plain(path: str, value: Any, levels: int) -> None:
    """Look whether a value can be sent to an API server at all."""
    if not levels:
        raise SpecError("InvalidPodTemplate", f"{path[:200]}... nests too deep: keep it to {_DEEPEST} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refuse(path, "must be a finite number")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_plain(f"{path}.{key}", inner, levels - 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_plain(f"{path}[{index}]", inner, levels - 1)


def _refuse(path: str, why: str) -> SpecError:
    return SpecError("InvalidPodTemplate", f"{path} {why}")


def _object(path: str, value: Any, warnings: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise _refuse(path, "must be an object: write it as one, or take it out")
    return value


def _text(path: str, value: Any, warnings: list[str]) -> Any:
    if not isinstance(value, str):
        raise _refuse(path, "must be text: put it in quotes, or take it out")
    return value


def _name(path: str, value: Any, warnings: list[str]) -> Any:
    if not isinstance(value, str) or not _OBJECT_NAME.fullmatch(value):
        raise _refuse(path, "must be a name: lower-case letters, digits, dashes and dots")
    return value


def _seconds(path: str, value: Any, warnings: list[str]) -> Any:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= GRACE_LONGEST:
        raise _refuse(path, f"must be a whole number of seconds from 1 to {GRACE_LONGEST}")
    return value


def _flag(path: str, value: Any, warnings: list[str]) -> Any:
    if not isinstance(value, bool):
        raise _refuse(path, "must be true or false")
    return value


def _map_of(clean: _Clean) -> _Clean:
    def whole(path: str, value: Any, warnings: list[str]) -> Any:
        _object(path, value, warnings)
        return {key: clean(f"{path}.{key}", inner, warnings) for key, inner in value.items()}

    return whole


def _list_of(clean: _Clean) -> _Clean:
    def whole(path: str, value: Any, warnings: list[str]) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise _refuse(path, "must be a list: write it as one, or take it out")
        made = [clean(f"{path}[{index}]", inner, warnings) for index, inner in enumerate(value)]
        return [each for each in made if each is not _IGNORED]

    return whole


def _only(
    fields: Mapping[str, _Clean], *, required: str | None = None, ignored: Mapping[str, str] | None = None
) -> _Clean:
    """An object with these fields and no others; those that are ignored are given with the reason."""

    def whole(path: str, value: Any, warnings: list[str]) -> Any:
        _object(path, value, warnings)
        made: Template = {}
        for key, inner in value.items():
            if key in (ignored or {}):
                warnings.append(f"{path}.{key} is ignored: {(ignored or {})[key]}")
            elif key in fields:
                made[key] = fields[key](f"{path}.{key}", inner, warnings)
            else:
                raise _refuse(f"{path}.{key}", f"is not allowed: take it out; {path} may have {', '.join(fields)}")
        if required is not None and required not in value:
            raise _refuse(path, f"has no {required}: add it")
        return made

    return whole


def _marks(path: str, value: Any, warnings: list[str]) -> Any:
    """Labels or annotations."""
    made = {}
    for key, inner in _map_of(_text)(path, value, warnings).items():
        domain = key.rpartition("/")[0]
        if key == names.MANAGED_BY or any(domain == ours or domain.endswith(f".{ours}") for ours in _RESERVED_DOMAINS):
            warnings.append(f"{path} sets {key}, which is ignored: it is the operator's own")
        else:
            made[key] = inner
    return made


def _variable(path: str, value: Any, warnings: list[str]) -> Any:
    made = _VARIABLE(path, value, warnings)
    if made["name"].startswith(_RESERVED_ENV) or made["name"] in _OWN_ENV:
        warnings.append(f"{path} sets {made['name']}, which is ignored: it is the operator's own")
        return _IGNORED
    return made


def _volume(path: str, value: Any, warnings: list[str]) -> Any:
    made = _VOLUME(path, value, warnings)
    if made["name"] in (names.VOLUME_SCRATCH, names.VOLUME_MODELS):
        warnings.append(f"{path} is named {made['name']} and is ignored: the worker's own volume has that name")
        return _IGNORED
    return made


def _mount(path: str, value: Any, warnings: list[str]) -> Any:
    made = _MOUNT(path, value, warnings)
    if PurePosixPath(made["mountPath"]) in (PurePosixPath(names.SCRATCH), PurePosixPath(names.MODELS)):
        warnings.append(f"{path} is mounted at {made['mountPath']} and is ignored: the worker has its own volume there")
        return _IGNORED
    return made


def _containers(path: str, value: Any, warnings: list[str]) -> Any:
    _list_of(_object)(path, value, warnings)
    if [each.get("name") for each in value] != [names.CONTAINER]:
        raise _refuse(path, f'must hold only the container named "{names.CONTAINER}": pods have no other')
    return [_CONTAINER(f"{path}[0]", value[0], warnings)]


_SAFETY: Final = "for safety the operator's own value holds"
_WORKER: Final = "the worker's own holds"
_OBJECTS: Final = _list_of(_object)
_VARIABLE: Final = _only({"name": _text, "value": _text, "valueFrom": _object}, required="name")
_MOUNT: Final = _only(
    {
        "name": _name,
        "mountPath": _text,
        "subPath": _text,
        "subPathExpr": _text,
        "readOnly": _flag,
        "recursiveReadOnly": _text,
    },
    required="mountPath",
)
_CONTAINER: Final = _only(
    {
        "name": _text,
        "env": _list_of(_variable),
        "envFrom": _OBJECTS,
        "volumeMounts": _list_of(_mount),
        "resources": _only({"requests": _object, "limits": _object}),
    },
    ignored={
        "image": "name the image in spec.stages[].image",
        "command": _WORKER,
        "args": _WORKER,
        "ports": _WORKER,
        "livenessProbe": _WORKER,
        "securityContext": _SAFETY,
    },
)

_VOLUME: Final = _only(
    # The kinds that Pod Security "restricted" knows; no token of a service account, because workers have none.
    {
        "name": _name,
        "configMap": _object,
        "csi": _object,
        "downwardAPI": _object,
        "emptyDir": _object,
        "ephemeral": _object,
        "persistentVolumeClaim": _object,
        "projected": _only(
            {"sources": _list_of(_only({"configMap": _object, "downwardAPI": _object, "secret": _object}))}
        ),
        "secret": _object,
    },
    required="name",
)

_TEMPLATE: Final = _only(
    {
        "metadata": _only({"labels": _marks, "annotations": _marks}),
        "spec": _only(
            {
                "nodeSelector": _map_of(_text),
                "tolerations": _OBJECTS,
                "affinity": _object,
                "topologySpreadConstraints": _OBJECTS,
                "priorityClassName": _name,
                "schedulerName": _name,
                "runtimeClassName": _name,
                "serviceAccountName": _name,
                "imagePullSecrets": _OBJECTS,
                "volumes": _list_of(_volume),
                "terminationGracePeriodSeconds": _seconds,
                "dnsPolicy": _text,
                "dnsConfig": _object,
                "hostAliases": _OBJECTS,
                "containers": _containers,
            },
            ignored={
                "restartPolicy": "the operator decides about every attempt",
                "automountServiceAccountToken": _SAFETY,
                "enableServiceLinks": _SAFETY,
                "securityContext": _SAFETY,
            },
        ),
    }
)
