"""Manifests as people send them: JSON or YAML, one GenerationJob, of a size and form that can be handled."""

from __future__ import annotations

from typing import Any, Final

import anyio.to_thread
import orjson
import yaml
from starlette.requests import Request

from carryon_api.problems import Problem
from carryon_core import names

JSON: Final = "application/json"
YAML: Final = "application/yaml"
_TYPES: Final = {JSON: JSON, YAML: YAML, "text/yaml": YAML, "application/x-yaml": YAML}
_NODES_MOST: Final = 1_000_000
"""Values in a manifest once its aliases are written out: a few lines of YAML can name billions."""
_DEPTH_MOST: Final = 64
_BY_SERVER: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
"""What an API server sets, and an export of another job may still hold."""

Manifest = dict[str, Any]


async def read(request: Request) -> Manifest:
    """The manifest in a request's body.

    Raises:
        Problem: It is none, or something else.
    """
    return checked(await document(request))


async def document(request: Request) -> Any:
    """What a request's body holds, whatever that is.

    Raises:
        Problem: It can't be read.
    """
    kind = _TYPES.get(request.headers.get("content-type", JSON).partition(";")[0].strip().lower())
    if kind is None:
        raise Problem("unsupported-media-type", f"send the manifest as {JSON} or {YAML}")
    body = await request.body()
    return _json(body) if kind == JSON else await anyio.to_thread.run_sync(_yaml, body)


def checked(value: Any) -> Manifest:
    """A value as a manifest.

    Raises:
        Problem: It is none.
    """
    if not isinstance(value, dict):
        raise Problem("invalid", f"the body is no object: send one {names.KIND}")
    for field, wanted in (("apiVersion", names.API_VERSION), ("kind", names.KIND)):
        if value.get(field) != wanted:
            given = orjson.dumps(value.get(field), default=str).decode()
            raise _wrong(field, f"is {given[:100]}: write {wanted}")
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        raise _wrong("metadata", "is missing: give the job a name, such as metadata.name: reel-42")
    if not isinstance(value.get("spec"), dict):
        raise _wrong("spec", "is missing: it says what to make")
    return value


def placed(manifest: Manifest, namespace: str) -> Manifest:
    """A manifest in its namespace.

    Raises:
        Problem: It names another one.
    """
    metadata = manifest["metadata"]
    if metadata.get("namespace") not in (None, namespace):
        raise _wrong("metadata.namespace", f"is {metadata['namespace']}, but the request goes to {namespace}")
    return {**manifest, "metadata": {**metadata, "namespace": namespace}}


def fresh(manifest: Manifest) -> Manifest:
    """A manifest to make a new job from, without what belonged to the one it was exported from."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in _BY_SERVER}
    return {**{name: value for name, value in manifest.items() if name != "status"}, "metadata": metadata}


def named(manifest: Manifest) -> str:
    """The name that a manifest gives.

    Raises:
        Problem: It gives none.
    """
    name = manifest["metadata"].get("name")
    if not isinstance(name, str) or not name:
        raise _wrong("metadata.name", "is missing: give the job a name, such as reel-42")
    return name


def _wrong(field: str, message: str) -> Problem:
    return Problem("invalid", f"{field} {message}", errors=[{"field": field, "message": message}])


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem("bad-request", f"the body is no JSON: {error}") from None


def _yaml(body: bytes) -> Any:
    try:
        _look_ahead(body)
        documents = [each for each in yaml.load_all(body, Loader=_Loader) if each is not None]
        if len(documents) != 1:
            raise Problem("bad-request", f"the body holds {len(documents)} documents: send one {names.KIND}")
        _count(documents[0], 0, [_NODES_MOST])
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise Problem("bad-request", f"the body is no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise Problem("bad-request", "the body is no YAML: its merges lead too deep") from None
    return documents[0]


def _look_ahead(body: bytes) -> None:
    """Make sure that the loader, which descends into itself without a limit, survives what it is given.

    Raises:
        ValueError: It is nested too deep.
    """
    depth = 0
    for event in yaml.parse(body, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH_MOST:
                raise ValueError("it is nested too deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _count(value: Any, depth: int, left: list[int]) -> None:
    left[0] -= 1
    if left[0] < 0 or depth > _DEPTH_MOST:
        raise ValueError("it has too many values, or is nested too deep, once its aliases are written out")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key is no text: put it into quotes")
        for each in value.values():
            _count(each, depth + 1, left)
    elif isinstance(value, list):
        for each in value:
            _count(each, depth + 1, left)
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"it holds a {type(value).__name__}, which JSON does not have")
    elif isinstance(value, float) and not -1.8e308 < value < 1.8e308:
        raise ValueError("it holds a number that JSON does not have")


class _Loader(yaml.CSafeLoader):
    """Safe, and as JSON would have it: times stay text, and a key that stands twice is refused."""

    merged = 0

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        # Called for each alias of a merge before what it names is written out: a few lines can name billions.
        self.merged += len(node.value)
        if self.merged > _NODES_MOST:
            raise ValueError("it has too many values once its merges are written out")

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f'"{key.value}" stands twice', key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
