"""One of several replicas acts: what it is called, and what keeps the others from writing."""

from __future__ import annotations

import os
import socket
import uuid

from carryon_kube.errors import Fenced as NoRequest
from carryon_operator.kube.elector import Elector
from carryon_store import Fenced
from carryon_store.protocol import Guard


def identity() -> str:
    """A name for this process, by its pod, that no other has, not even the next one in this pod."""
    return f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{uuid.uuid4().hex[:12]}"


def guard_of(elector: Elector) -> Guard:
    """What keeps writes from buckets while others may lead."""

    def guard() -> None:
        try:
            elector.time_left()
        except NoRequest as error:
            raise Fenced(error.message) from None

    return guard
