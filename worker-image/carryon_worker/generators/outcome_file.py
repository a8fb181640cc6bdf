"""What a program says about how its unit ended: a small file of JSON, which it may leave out."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Final

from carryon_core.done import Outcome
from carryon_worker.failures import BadRequest

_LONGEST: Final = 64 * 1024
_FORM: Final = '{"outcome": "generated", "skipped" or "filtered", "reason": "a text, which may be left out"}'


def read(path: Path) -> tuple[Outcome, str]:
    """Outcome and reason; a unit is generated where there is no file.

    Raises:
        BadRequest: There is something else in it.
    """
    content = _content(path)
    if content is None:
        return Outcome.GENERATED, ""
    try:
        match json.loads(content):
            case {"outcome": str(outcome), **rest}:
                reason = rest.get("reason") or ""
                if isinstance(reason, str):
                    # JSON may hold half a character, which UTF-8 has no form for.
                    return Outcome(outcome), reason.encode(errors="replace").decode()
    except (ValueError, RecursionError) as error:
        raise _refused(f": {error}") from None
    raise _refused("")


def _content(path: Path) -> bytes | None:
    try:
        # Whatever the program put there must not keep us waiting, as a pipe would, nor lead elsewhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(f": {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(": it is no regular file")
    with open(descriptor, "rb") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise _refused(f": it has more than {_LONGEST} bytes")
    return content


def _refused(why: str) -> BadRequest:
    return BadRequest(f"the file CARRYON_OUTCOME can't be read{why}; write {_FORM} to it, or nothing")
