"""What a kubelet does to a container that runs: the actions of probes and of lifecycle hooks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from carryon_standalone.node import probes, processes
from carryon_standalone.node.pods import Object


@dataclass(frozen=True)
class Launch:
    """What one attempt at a container was started with.

    Attributes:
        command: Program and arguments.
        environment: All of it.
        folder: Working directory.
        marker: Folder of the container's record: processes that carry it end with the container.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path
    marker: str


async def perform(action: Object, container: Object, pod_ip: str, launch: Launch) -> str | None:
    """Do what a probe or a hook says; None is success, a text says what is wrong.

    Args:
        action: With one of `httpGet`, `tcpSocket`, `exec` and, for hooks, `sleep`.
        container: Its spec, for the names of ports.
        pod_ip: Where it listens.
        launch: What it runs with.
    """
    try:
        if "httpGet" in action:
            return await probes.check_http(action["httpGet"], container, pod_ip)
        if "tcpSocket" in action:
            return await probes.check_tcp(action["tcpSocket"], container, pod_ip)
        if "exec" in action:
            return await _execute(action["exec"]["command"], launch)
        if "sleep" in action:
            await asyncio.sleep(action["sleep"]["seconds"])
            return None
    except (LookupError, ValueError) as error:  # no API server of ours checks the inside of an action
        return f"{', '.join(action)} can't be done as it is written: {error!r}"
    return f"{', '.join(action)} is not offered: use httpGet, tcpSocket, exec, or in a hook sleep"


async def _execute(command: list[str], launch: Launch) -> str | None:
    environment = launch.environment | {processes.ENV_MARKER: f"{launch.marker}/action"}
    try:
        process = processes.start(command, environment, launch.folder, subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        return str(error)
    try:
        problem = await process.release()
        code = await process.wait()
    except asyncio.CancelledError:
        process.signal(signal.SIGKILL)
        await process.wait()
        raise
    return problem or (None if code == 0 else f"command ended with exit code {code}")
