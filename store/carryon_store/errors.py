"""What can go wrong with a bucket: a short tree, each error a sentence that names the object and says what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not do what was asked, and asking again changes nothing until a person does something."""


class NotFound(StoreError):
    """The store answered, and it has no such object."""


class Conflict(StoreError):
    """The object exists already, and it was to be created only if absent."""


class Changed(StoreError):
    """The object is no longer the one that was listed: look at it again."""


class Denied(StoreError):
    """The store refuses these credentials, or the file system this user."""


class Full(StoreError):
    """There is no room: a quota is used up, or the disk is."""


class TooLarge(StoreError):
    """The object has more bytes than the reader takes into memory."""


class Unreachable(StoreError):
    """No answer that says anything about the objects: network, time-out, throttling or a failing server.

    Never to be read as "missing": ask again later.
    """


class Fenced(StoreError):
    """Nothing was written: whoever asked may not write, or not any more. See `Stores`."""
