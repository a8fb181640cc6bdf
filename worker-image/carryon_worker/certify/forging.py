"""The process that workers are forked from, see `forge`.

It reads a request a line from stdin, JSON, and writes an answer a line to stdout:

    {"look": [model, pipeline, file]}                         -> {"ended": 0}: what was seen is in the file
    {"work": {environment, log, reports, pause, imports}}     -> {"pid": 123}, and once it has ended {"ended": -9}
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from carryon_worker.certify.forge import Pause
from carryon_worker.certify.lifeline import end_with_parent

_FAILED: Final = 99
"""Exit code of a child that did not become what it should."""


def main() -> NoReturn:
    """Import what workers need, then fork one for each request."""
    end_with_parent(signal.SIGKILL)
    # Answers alone go there: libraries print what they like.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from carryon_worker import runner  # noqa: F401
    from carryon_worker.certify import looking, observed  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        for library, name in request.get("work", {}).get("imports", ()):
            _import(library, name)
        # A child that collects garbage looks at what is its own; else it would copy all of this.
        gc.freeze()
        child = os.fork()
        if not child:
            _become(request)
        if "work" in request:
            _tell(answers, pid=child)
        _, status = os.waitpid(child, 0)
        _tell(answers, ended=os.waitstatus_to_exitcode(status))
    # Nothing is to be written or given back: the shutdown of all these libraries takes seconds.
    os._exit(0)


def _tell(answers: IO[str], **answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _become(request: Mapping[str, Any]) -> NoReturn:
    """Be what was asked for, and end."""
    try:
        end_with_parent(signal.SIGKILL)
        if "look" in request:
            from carryon_worker.certify import looking

            model, pipeline, path = request["look"]
            Path(path).write_text(json.dumps(looking.look(model, pipeline)), encoding="utf-8")
            os._exit(0)
        _become_worker(**request["work"])
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(_FAILED)


def _become_worker(environment: dict[str, str], log: str, reports: str, pause: Any, imports: Any) -> NoReturn:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(environment)
    from carryon_worker import __main__ as worker
    from carryon_worker.certify import observed

    waiting = None if pause is None else Pause(**pause)
    worker.work(partial(observed.create, reports=Path(reports), pause=waiting))


def _import(library: str, name: str) -> None:
    """Import a class now, so that no child has to; one that can't be imported is the children's affair."""
    try:
        getattr(import_module(library), name)
    except Exception:  # noqa: BLE001 - a library may raise anything when it is imported
        traceback.print_exc()


if __name__ == "__main__":
    main()
