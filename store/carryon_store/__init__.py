"""The bucket: one small protocol, two stores behind it, and the contract of what lies in them."""

from carryon_store.errors import Changed, Conflict, Denied, Fenced, Full, NotFound, StoreError, TooLarge, Unreachable
from carryon_store.local import Slice
from carryon_store.opening import Stores, open_store, place_of
from carryon_store.protocol import DOCUMENT_LIMIT, JSON_TYPE, Credentials, ObjectInfo, Store

__all__ = [
    "DOCUMENT_LIMIT",
    "JSON_TYPE",
    "Changed",
    "Conflict",
    "Credentials",
    "Denied",
    "Fenced",
    "Full",
    "NotFound",
    "ObjectInfo",
    "Slice",
    "Store",
    "StoreError",
    "Stores",
    "TooLarge",
    "Unreachable",
    "open_store",
    "place_of",
]
