"""What a patch request does to an object: its media type says how the body is to be read."""

from __future__ import annotations

from collections.abc import Callable

from carryon_standalone.apiserver import patch
from carryon_standalone.apiserver.errors import bad_request, unsupported_media_type
from carryon_standalone.apiserver.negotiation import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, load_patch
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.storage import Object


def change_of(resource: Resource, media_type: str, body: bytes) -> Callable[[Object], Object]:
    """The change that a JSON, merge or strategic merge patch makes.

    Raises:
        ApiError: 400 where the body is no such patch, 415 where the kind takes no patches of this type.
    """
    accepted = [JSON_PATCH, MERGE_PATCH, *([] if resource.custom else [STRATEGIC_PATCH]), APPLY_PATCH]
    if media_type not in accepted or media_type == APPLY_PATCH:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
        )
    change = load_patch(body)
    if media_type == JSON_PATCH:
        return lambda value: patch.json_patch(value, change)
    if not isinstance(change, dict):
        raise bad_request("error decoding patch: a merge patch must be an object")
    if media_type == MERGE_PATCH:
        return lambda value: dict(patch.merge(value, change))
    return lambda value: dict(patch.strategic(value, change, resource.shape))
