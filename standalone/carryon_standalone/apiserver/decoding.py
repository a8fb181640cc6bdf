"""Built-in kinds as a typed server reads them: null is absent, types fit, quantities have one form."""

from __future__ import annotations

from typing import Any, Final

from carryon_standalone.apiserver.errors import ApiError, bad_request
from carryon_standalone.apiserver.quantities import canonical
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.schema import Node, same
from carryon_standalone.apiserver.storage import Object

MISFIT: Final = "FieldValueTypeInvalid"


def settle(resource: Resource, value: Object, old: Object | None) -> None:
    """Bring an object into the form in which it is stored; what it has in common with `old` is in that form already.

    Raises:
        ApiError: 400 where a typed server could not have decoded it.
    """
    for name in [name for name, inner in value.items() if inner is None]:
        del value[name]
    changed = {
        name: inner for name, inner in value.items() if old is None or name not in old or not same(inner, old[name])
    }
    drop_nulls(changed)
    if misfits := [each for each in resource.structural.validate(changed) if each.reason == MISFIT]:
        raise _unhandled(resource, "; ".join(map(str, misfits)))
    if resource.structural.root.quantities:
        try:
            _settle_quantities(resource.structural.root, changed)
        except ValueError as error:
            raise _unhandled(resource, str(error)) from error


def drop_nulls(value: Any) -> None:
    """Remove what is null, at any depth."""
    if isinstance(value, dict):
        for name in [name for name, inner in value.items() if inner is None]:
            del value[name]
        for inner in value.values():
            drop_nulls(inner)
    elif isinstance(value, list):
        for inner in value:
            drop_nulls(inner)


def _settle_quantities(node: Node, value: Any) -> None:
    if isinstance(value, list) and node.items is not None:
        for each in value:
            _settle_quantities(node.items, each)
    elif isinstance(value, dict):
        for name, each in value.items():
            inner = node.properties.get(name, node.additional)
            if inner is None or not inner.quantities:
                continue
            if isinstance(each, dict | list):
                _settle_quantities(inner, each)
            else:
                value[name] = canonical(each.strip() if isinstance(each, str) else each)


def _unhandled(resource: Resource, why: str) -> ApiError:
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')
