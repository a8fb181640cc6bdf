"""Starting and stopping a supervisor from another process: what `up --detach`, `run` and `down` do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carryon_standalone.home import Home, Running, Settings, StartFailed
from carryon_standalone.supervisor import Options

_POLL: Final = 0.1
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 30.0
LOG: Final = "supervisor.log"


def ensure_running(home: Home, options: Options) -> bool:
    """Return when a control plane runs in a folder and answers; starts a detached one if there is none.

    One that is stopping is waited for, and so is one that somebody else starts meanwhile.

    Returns:
        Whether it was started here.

    Raises:
        StartFailed: It did not come up, or one runs with other settings.
    """
    started: subprocess.Popen[bytes] | None = None
    for _ in _until(_START_SECONDS):
        running = Running.load(home)
        if running is not None and running.ready:
            settings = Settings.load(home)
            if settings.chosen(output=options.output, gpus=options.gpus) != settings:
                raise StartFailed(
                    f"the control plane in {home.root} runs with another --output or --gpus:"
                    f" stop it with `{home.command('down')}`, then try again"
                )
            return started is not None and started.pid == running.pid
        if running is None and started is None:
            started = _detach(home, options)
        elif running is None and started is not None and started.poll() is not None:
            raise StartFailed(f"the control plane did not start: {_last_words(home)}")
    raise StartFailed(f"the control plane was not ready within {_START_SECONDS:.0f} seconds; see {home.logs}")


def stop(home: Home) -> bool:
    """Stop the supervisor of a folder, however it was started, and return when it is gone.

    A second Ctrl-C meanwhile is passed on, and ends everything at once.

    Returns:
        Whether there was one.

    Raises:
        StartFailed: It did not end.
    """
    running = Running.load(home)
    if running is None:
        return False
    _signal(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            if Running.load(home) is None:
                return True
            time.sleep(_POLL)
        except KeyboardInterrupt:
            _signal(running.pid, signal.SIGTERM)
    raise StartFailed(f"the supervisor (process {running.pid}) did not end within {_STOP_SECONDS:.0f} seconds")


def _detach(home: Home, options: Options) -> subprocess.Popen[bytes]:
    """A supervisor in a session of its own, which neither a closed terminal nor Ctrl-C reaches."""
    home.create()
    chosen = [
        *(("--output", str(options.output)) if options.output is not None else ()),
        *(("--gpus", str(options.gpus)) if options.gpus is not None else ()),
    ]
    # For its owner only: it holds the page's address, which signs in.
    with (home.logs / LOG).open("wb") as log:
        os.fchmod(log.fileno(), 0o600)
        return subprocess.Popen(
            [sys.executable, "-m", "carryon_standalone", "up", "--data", str(home.root), *chosen],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path("/"),
        )


def _until(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _last_words(home: Home) -> str:
    return (home.logs / LOG).read_text(errors="replace").strip()
