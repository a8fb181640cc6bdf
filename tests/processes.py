"""What tests need whose servers and clients are processes of their own: a port, a kubeconfig, and patience."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_DRAW = random.SystemRandom()


def free_port() -> int:
    """A port that nobody listens at, and that the kernel gives to nobody who asks for any: it stays free until used."""
    while True:
        port = _DRAW.randrange(20_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def until(look: Callable[[], T | None], seconds: float = 60.0, what: str = "it") -> T:
    """What a look finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.03)
    return found


def kubeconfig(server: str, **user: Any) -> dict[str, Any]:
    """A kubeconfig of one server, and of one user, with what identifies them: `token`, `tokenFile`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
