"""The `carryon` command against the control plane of a test's module."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from carryon_standalone.cli import main
from commands import Carryon, Said
from plane import Plane


@pytest.fixture
def carryon(plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Carryon]:
    """The command in this process, because loading the Kubernetes client takes longer than most commands."""

    def call(*arguments: str, code: int = 0) -> Said:
        monkeypatch.setattr(sys, "argv", ["carryon", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == code, f"{arguments}: exit {ended.value.code}\n{out}\n{err}"
        return Said(out, err)

    for name in ("KUBECONFIG", "COLUMNS", "KUBE_EDITOR", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CARRYON_HOME", str(plane.data))
    handler = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, handler)
