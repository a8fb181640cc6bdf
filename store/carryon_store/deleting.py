"""Deletes many objects by a few threads: it is round trips that take the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from carryon_store.errors import StoreError
from carryon_store.protocol import ObjectInfo, Store

DELETED_AT_ONCE: Final = 2000
"""Objects that one call of `delete_prefix` removes: some seconds."""
_DELETERS: Final = 8
_BATCH: Final = 256

T = TypeVar("T")


def delete_prefix(store: Store, prefix: str, most: int = DELETED_AT_ONCE) -> int:
    """Delete what lies below a prefix, as far as one call goes: to be called until it deletes less than `most`.

    Args:
        store: The bucket.
        prefix: Ends in a slash, see `layout.job_prefix`.
        most: Objects to delete, at most.

    Returns:
        Objects that were deleted.

    Raises:
        StoreError: The prefix is none, or something could not be listed or deleted; asking again goes on from there.
    """
    if not prefix.endswith("/"):
        raise StoreError(f'"{prefix}" is no prefix to delete: it must end in a slash')

    def delete(info: ObjectInfo) -> int:
        store.delete(info.key)
        return 1

    return delete_each(delete, list(islice(store.list(prefix), most)))


def delete_all(store: Store, prefix: str) -> None:
    """Delete everything below a prefix, however long that takes.

    Raises:
        StoreError: As of `delete_prefix`.
    """
    while delete_prefix(store, prefix) == DELETED_AT_ONCE:
        pass


def delete_each(delete: Callable[[T], int], items: Iterable[T]) -> int:
    """Delete each of these, by a few threads; how much, in all."""
    deleted = 0
    rest = iter(items)
    with ThreadPoolExecutor(_DELETERS, thread_name_prefix="delete") as deleters:
        while batch := list(islice(rest, _BATCH)):
            deleted += sum(deleters.map(delete, batch))
    return deleted
