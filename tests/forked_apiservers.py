"""API servers as processes of their own that skip the imports: forked from a process that has done nothing but import.

So a test can kill one several times a second. Each opens its database, binds its port and dies by itself.

Run as a script it is that process: command lines come in as lines of JSON on stdin; what a server prints, and how it
ended, goes out on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import traceback
from pathlib import Path

from apiservers import Server


class ForkedServer(Server):
    """A server that starts in a fraction of the time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pid = 0
        self._arguments = self.command()[3:]
        self.trusted = ssl.create_default_context(cafile=self.home.authority)
        with (folder / "forge.log").open("wb") as errors:
            self._forge = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def begin(self) -> None:
        """Start it, and do not wait until it serves."""
        assert self._forge.stdin is not None
        self._forge.stdin.write(json.dumps(self._arguments) + "\n")
        self._forge.stdin.flush()
        self.pid = int(self._line())

    def start(self) -> ForkedServer:
        self.begin()
        line = self._line()
        assert line.startswith("serving on "), (line, (self.folder / "forge.log").read_text())
        self.url = line.removeprefix("serving on ")
        return self

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.pid = 0
        while not (line := self._line()).startswith("ended "):
            assert line.startswith("serving on "), (line, (self.folder / "forge.log").read_text())
        assert line == f"ended {-signal.SIGKILL}", (line, (self.folder / "forge.log").read_text())

    def close(self) -> None:
        if self.pid:
            self.kill()
        assert self._forge.stdin is not None
        self._forge.stdin.close()
        self._forge.wait(timeout=10)

    def _line(self) -> str:
        assert self._forge.stdout is not None
        return self._forge.stdout.readline().strip()


def _forge() -> None:
    from carryon_standalone.apiserver import __main__ as apiserver

    for line in sys.stdin:
        arguments = json.loads(line)
        child = os.fork()
        if not child:
            try:
                sys.argv = ["carryon-apiserver", *arguments]
                os._exit(apiserver.main())
            except BaseException:  # noqa: BLE001 - a child must not go on as its parent
                traceback.print_exc()
                os._exit(99)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    _forge()
