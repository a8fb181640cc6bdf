"""The kubectl binaries that are installed, and one of them against an API server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiservers import Client

OLDEST = 29


def installed() -> dict[int, str]:
    """Paths of the real binaries by minor version; a dispatcher's own copies lie beside it."""
    found = shutil.which("kubectl")
    if found is None:
        return {}
    folder = Path(found).resolve().parent
    versions = {}
    for path in sorted(folder.glob("kubectl.1.*")):
        if match := re.fullmatch(r"kubectl\.1\.(\d+)", path.name):
            versions[int(match[1])] = str(path)
    if not versions:
        text = subprocess.run(
            [found, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=20
        ).stdout
        versions[int(json.loads(text)["clientVersion"]["minor"].rstrip("+"))] = found
    return {minor: path for minor, path in versions.items() if minor >= OLDEST}


VERSIONS = installed()
NEWEST = max(VERSIONS, default=0)
FAST = sorted({NEWEST, min(VERSIONS, default=0)}) if VERSIONS else []
SLOW = sorted(set(VERSIONS) - set(FAST))

needs_kubectl = pytest.mark.skipif(
    not VERSIONS and "CI" not in os.environ, reason=f"install kubectl 1.{OLDEST} or newer for it"
)


class Kubectl:
    """One binary with a home folder of its own, so that what it caches is of this server."""

    def __init__(self, binary: str, home: Path, server: Client) -> None:
        self.binary = binary
        self.server = server
        self.environment = {"HOME": str(home), "KUBECONFIG": str(server.kubeconfig), "PATH": os.environ["PATH"]}

    @classmethod
    def of(cls, minor: int, folders: pytest.TempPathFactory, server: Client) -> Kubectl:
        return cls(VERSIONS[minor], folders.mktemp(f"home-1.{minor}-"), server)

    def run(self, *arguments: str, given: Any = None, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command; on its standard input a text, or a value as YAML."""
        text = yaml.safe_dump(given) if given is not None else text
        command = [self.binary, *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, env=self.environment, timeout=60)

    def __call__(self, *arguments: str, given: Any = None) -> str:
        ended = self.run(*arguments, given=given)
        assert ended.returncode == 0, ended.stderr
        assert "Error" not in ended.stderr, ended.stderr
        return ended.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [self.binary, *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )


def parameters(minors: list[int], slow: bool) -> list[Any]:
    return [pytest.param(minor, marks=[pytest.mark.slow] if slow else [], id=f"1.{minor}") for minor in minors]


def newest_first(oldest: int) -> list[Any]:
    """The newest version; the others, down to the oldest given, are slow."""
    minors = sorted((minor for minor in VERSIONS if minor >= oldest), reverse=True)
    return parameters(minors[:1], False) + parameters(minors[1:], True)
