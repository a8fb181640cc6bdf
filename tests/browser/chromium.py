"""Which Chromium the browser tests drive: one on PATH. `make test` installs Debian's where it may."""

from __future__ import annotations

import os
import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = "there is no Chromium: install one, such as `apt-get install chromium`, and run the tests again"


def found() -> str | None:
    """Path of the browser; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def switches() -> list[str]:
    """How it is started where tests run: in containers there is little shared memory, and root gets no sandbox."""
    needed = ["--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]
    return [*needed, "--no-sandbox"] if os.geteuid() == 0 else needed
