"""A job as it was, rewritten for the place where it is to go on. Pure.

Fingerprints stay as they are: of a file only its content counts, not where it lies, and output, Secrets and what is
notified are no part of any. Only templates that name the job or its namespace make other units under another name.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from carryon_core import layout, names
from carryon_core.messages import StoreConfig
from carryon_jobs.archive.documents import LEFT_OUT, Object, is_ours
from carryon_jobs.archive.errors import NeedsSecrets, printable

ANNOTATION_IMPORT: Final = f"{names.GROUP}/import"
"""Tells a job of ours from one that somebody else created at the same time."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LONGEST: Final = 100
_DIGITS: Final = 16
_SECRET_REFS: Final = ("secretRef", "secretKeyRef", "nodePublishSecretRef")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is to go on.

    Attributes:
        config: Where its bucket is.
        secret: Name of the Secret with the keys of that.
        default: The operator's default store, which a spec does not name.
    """

    namespace: str
    name: str
    config: StoreConfig
    secret: str | None = None
    default: bool = False

    @property
    def prefix(self) -> str:
        """Of the job in its bucket."""
        return layout.job_prefix(self.namespace, self.name)

    def uri(self, key: str) -> str:
        """Of an object of the job, as a spec names it; the key is one of ours."""
        return f"{self.config.uri.rstrip('/')}/{key}"


def input_key(place: Place, uri: str, sha256: str) -> str:
    """Where a file goes that the job's parameters name; its name stays readable, its content decides."""
    name = _ODD.sub("_", uri.rpartition("/")[2]).lstrip(".")
    stem, dot, suffix = name.rpartition(".")
    if len(name) > _NAME_LONGEST:
        name = (
            f"{stem[: _NAME_LONGEST - len(suffix) - 1]}.{suffix}" if dot and len(suffix) < 16 else name[:_NAME_LONGEST]
        )
    return f"{layout.inputs_prefix(place.namespace, place.name)}{sha256[:_DIGITS]}/{name or 'file'}"


def items_key(place: Place, sha256: str) -> str:
    """Where the job's own copy of a table goes."""
    return f"{layout.inputs_prefix(place.namespace, place.name)}items.{sha256[:_DIGITS]}.jsonl"


def table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Items as rows that `items.from` reads: JSON lines, the id beside the params."""
    lines = (json.dumps({"id": item, **params}, ensure_ascii=False, sort_keys=True) for item, params in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def with_uris(value: Any, uris: Mapping[str, str], *, texts: bool = False) -> Any:
    """A value in which files have their new uris: {"file": uri}, and with `texts` every text that is such a uri."""
    match value:
        case {"file": str() as uri} if len(value) == 1:
            return {"file": uris.get(uri, uri)}
        case str():
            return uris.get(value, value) if texts else value
        case Mapping():
            return {name: with_uris(inner, uris, texts=texts) for name, inner in value.items()}
        case list():
            return [with_uris(inner, uris, texts=texts) for inner in value]
    return value


def moved(
    job: Object,
    place: Place,
    *,
    uris: Mapping[str, str],
    items: str | None,
    secrets: Mapping[str, str],
    start: bool,
    mark: str,
    texts: bool = False,
) -> Object:
    """The job for its new place.

    Args:
        job: As its archive has it.
        place: Where it goes.
        uris: Of its files, old -> new.
        items: Uri of its table, where its items come from data.
        secrets: Name of a Secret that it uses -> the one that takes its place.
        start: Begin at once, instead of suspended.
        mark: Tells this import from others.
        texts: Params that are such a uri as plain text get the new one too.

    Raises:
        NeedsSecrets: Nobody said what takes the place of one of its Secrets.
    """
    made = copy.deepcopy(job)
    spec = made["spec"]
    for gone in (*LEFT_OUT, "suspendUntil", "cancel"):
        spec.pop(gone, None)
    spec["suspend"] = not start
    _set_output(spec, place)
    wanted = spec["items"]
    if wanted.get("list") is not None:
        wanted["list"] = [
            {**each, "params": with_uris(each.get("params") or {}, uris, texts=texts)} for each in wanted["list"]
        ]
    if items is not None:
        spec["items"] = {"from": {"uri": items, "format": "jsonl", "idColumn": "id"}}
    for override in spec.get("overrides") or ():
        override["params"] = with_uris(override["params"], uris, texts=texts)
    for stage in spec["stages"]:
        stage["generate"] = with_uris(stage["generate"], uris)
    _set_secrets(spec, secrets)
    metadata: Object = {"name": place.name, "namespace": place.namespace}
    if labels := made["metadata"].get("labels"):
        metadata["labels"] = labels
    annotations = made["metadata"].get("annotations") or {}
    own = {name: value for name, value in annotations.items() if not is_ours(name)}
    metadata["annotations"] = {**own, ANNOTATION_IMPORT: mark}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}


def left_behind(job: Object, left_out: Collection[str], place: Place | None) -> Iterator[str]:
    """What the job does not take along, or will look for where it goes: sentences.

    Args:
        job: As its archive has it.
        left_out: Fields that its archive does not have.
        place: Where it goes, if that is known.
    """
    spec = job["spec"]
    if "notify" in left_out or spec.get("notify"):
        yield "nobody is notified: add spec.notify again where the job goes on"
    output = spec.get("output") or {}
    if place is not None and place.default and output.get("onDelete") == "Delete":
        yield "artifacts stay when the job is deleted: output.onDelete needs an output that is named"
    if (spec.get("items") or {}).get("from"):
        yield "items come from the archive's own table from now on, and no longer from where they were read"
    if spec.get("queueName"):
        yield f'pods are queued in LocalQueue "{spec["queueName"]}": it must exist in the namespace'
    images = sorted({str(stage["image"]) for stage in spec.get("stages") or () if stage.get("image")})
    if images:
        yield f"stages run images of their own: {_listed(images)}"
    models = sorted(
        {
            str(model)
            for stage in spec.get("stages") or ()
            for kind in ("diffusers", "text")
            if (model := ((stage.get("generate") or {}).get(kind) or {}).get("model"))
            and str(model).startswith(("/", "file:", "s3:"))
        }
    )
    if models:
        yield f"models do not travel along: {_listed(models)} must be there too"


def begun_by(images: Sequence[str]) -> Iterator[str]:
    """Whose work half-made units go on from: pods run the images that these name, whoever wrote them."""
    if images:
        yield f"half-made units go on with the images that began them: {_listed(images)}"


def secrets_of(job: Object) -> dict[str, str]:
    """Secrets that the job's pods use -> the field that names each."""
    found: dict[str, str] = {}

    def note(where: str, name: str) -> str:
        found.setdefault(name, where)
        return name

    _each_secret(copy.deepcopy(job["spec"]), note)
    return found


def _set_output(spec: Object, place: Place) -> None:
    before = spec.pop("output", None) or {}
    if place.default:
        return
    made: Object = {"uri": place.config.uri}
    if place.config.endpoint is not None:
        made["endpoint"] = place.config.endpoint
    if place.config.region is not None:
        made["region"] = place.config.region
    if place.secret is not None:
        made["credentialsSecret"] = {"name": place.secret}
    spec["output"] = made | {name: before[name] for name in ("onDelete", "keepOutdated") if name in before}


def _set_secrets(spec: Object, secrets: Mapping[str, str]) -> None:
    missing: dict[str, str] = {}

    def replace(where: str, name: str) -> str:
        if name not in secrets:
            missing.setdefault(name, where)
        return secrets.get(name, name)

    _each_secret(spec, replace)
    if missing:
        told = ", ".join(f'"{name}" ({where})' for name, where in missing.items())
        raise NeedsSecrets(f"the job uses Secrets, which do not travel along: {told}; name one for each", missing)


def _each_secret(spec: Object, change: Callable[[str, str], str]) -> None:
    """Pass the name of every Secret, with the field that holds it, through a function."""
    token = (spec.get("models") or {}).get("tokenSecret")
    if token:
        token["name"] = change("spec.models.tokenSecret", str(token["name"]))
    templates = [("spec.podTemplate", spec.get("podTemplate"))]
    for stage in spec.get("stages") or ():
        where = f'stage "{stage.get("name")}"'
        secret = ((stage.get("generate") or {}).get("http") or {}).get("secret")
        if secret:
            secret["name"] = change(f"{where}, generate.http.secret", str(secret["name"]))
        templates.append((f"{where}, podTemplate", stage.get("podTemplate")))
    for where, template in templates:
        _in_template(where, template, change)


def _in_template(where: str, value: Any, change: Callable[[str, str], str]) -> None:
    """Every place where a pod can name a Secret."""
    if isinstance(value, list):
        for inner in value:
            _in_template(where, inner, change)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in _SECRET_REFS and isinstance(inner, dict) and "name" in inner:
            inner["name"] = change(f"{where}: {key}", str(inner["name"]))
        elif key == "secret" and isinstance(inner, dict):
            for name in ("secretName", "name"):
                if name in inner:
                    inner[name] = change(f"{where}: volume", str(inner[name]))
        elif key == "imagePullSecrets" and isinstance(inner, list):
            for each in inner:
                if isinstance(each, dict) and "name" in each:
                    each["name"] = change(f"{where}: imagePullSecrets", str(each["name"]))
        else:
            _in_template(where, inner, change)


def _listed(names: Sequence[str]) -> str:
    """All of them, in full: what somebody has to look at must not hide behind "and 9 more"."""
    return ", ".join(map(printable, names))
