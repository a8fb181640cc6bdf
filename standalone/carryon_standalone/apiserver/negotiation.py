"""Which form of an answer a client takes, and which body it sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
import yaml

from carryon_standalone.apiserver import protobuf
from carryon_standalone.apiserver.errors import ApiError, bad_request, unsupported_media_type

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
_TYPES: Final = f"{JSON}, {YAML}, {PROTOBUF}"


@dataclass(frozen=True, slots=True)
class Form:
    """How to show objects: `kind` is empty, Table, PartialObjectMetadata or PartialObjectMetadataList."""

    kind: str = ""
    version: str = "v1"
    media_type: str = JSON


PLAIN: Final = Form()


def form_of(accept: str) -> Form:
    """The first form in an Accept header that this server has.

    Raises:
        ApiError: 406 where there is none.
    """
    if not accept or accept in ("*/*", JSON):
        return PLAIN
    for clause in accept.split(","):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        if media_type == YAML:
            return Form(media_type=YAML)
        if media_type not in (JSON, "*/*", "application/*"):
            continue
        given = dict(each.partition("=")[::2] for each in parameters)
        kind = given.get("as", "")
        if not kind:
            return PLAIN
        known = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
        if kind in known and given.get("g") == "meta.k8s.io" and given.get("v") in ("v1", "v1beta1"):
            return Form(kind, given["v"])
    message = f"only the following media types are accepted: {_TYPES}"
    raise ApiError(HTTPStatus.NOT_ACCEPTABLE, "NotAcceptable", message)


def encode(value: Any, form: Form) -> bytes:
    """An answer's body."""
    if form.media_type == YAML:
        return yaml.safe_dump(value, sort_keys=True, allow_unicode=True).encode()
    return orjson.dumps(value)


def decode(body: bytes, content_type: str, kind: str) -> dict[str, Any]:
    """The object in a request's body; without a Content-Type it is JSON.

    Raises:
        ApiError: 400 where it can't be read, 415 for another type.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == PROTOBUF:
        return _load_protobuf(body)
    if media_type not in ("", JSON, YAML, "application/octet-stream"):
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {_TYPES}"
        )
    value = load_yaml(body) if media_type == YAML else _load_json(body, kind)
    if not isinstance(value, dict):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind;"
            " the body is not an object"
        )
    return value


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its fields came more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = Counter(name for name, _ in pairs) if len(self) < len(pairs) else {}
        self.repeated = [name for name, times in names.items() if times > 1]


def repeated_fields(body: bytes) -> list[str]:
    """Paths of fields that a JSON document has more than once: all but the last are lost."""
    try:
        # What comes out as it went in has lost nothing; only what is written otherwise has to be read slowly.
        if orjson.dumps(orjson.loads(body)) == body.strip():
            return []
        document = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        # YAML, whose reader knows no repetitions, or nonsense that is refused elsewhere.
        return []
    return list(_repeated(document, ""))


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        yield from (f"{path}.{name}".lstrip(".") for name in value.repeated)
        for name, inner in value.items():
            yield from _repeated(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _repeated(inner, f"{path}[{index}]")


def _load_protobuf(body: bytes) -> dict[str, Any]:
    try:
        return protobuf.decode(body)
    except protobuf.UnknownKind as error:
        raise unsupported_media_type(
            f"this server does not read {error} as protobuf: write the object to a file and use `kubectl apply -f FILE`"
        ) from error
    except ValueError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from error


def _load_json(body: bytes, kind: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = body[:64].decode(errors="replace")
        why = "unexpected end of JSON input" if error.pos >= len(body) else str(error)
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind;"
            f" json parse error: {why} ({text})"
        ) from error


def load_patch(body: bytes) -> Any:
    """The document of a JSON or merge patch.

    Raises:
        ApiError: 400.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from error


def load_yaml(body: bytes) -> Any:
    """A YAML (or JSON) document, with times left as text.

    Raises:
        ApiError: 400.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return yaml.load(body, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """Safe, and as JSON would have it: times stay text."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
