"""What a node keeps on disk about a pod, so that a verdict outlives the node.

DATA/pods/{uid}/pod.json                  the pod as it was when it came
               /status.json               its newest status: the verdict, until the API server has it
               /{container}.pid           the container's process, noted before its command is executed
               /{container}.termination   what the container leaves as its termination message
               /home, /tmp, /volumes/     folders of the containers
DATA/logs/{namespace}_{name}_{uid}/{container}.log, {container}.previous.log
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import orjson

from carryon_standalone.node.pods import Object, PodRef
from carryon_standalone.node.processes import Identity


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file so that after a crash, even of the machine, either the old or the new content is there."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class PodFolder:
    """The records of one pod."""

    def __init__(self, data: Path, ref: PodRef) -> None:
        self.ref = ref
        self.path = data / "pods" / ref.uid
        self.logs = data / "logs" / f"{ref.namespace}_{ref.name}_{ref.uid}"
        self.home = self.path / "home"
        self.temporary = self.path / "tmp"
        self.volumes = self.path / "volumes"

    @classmethod
    def all(cls, data: Path) -> list[PodFolder]:
        """Records left by an earlier node; a folder without a readable pod.json never had a process, and is removed."""
        folders = []
        for path in (data / "pods").iterdir():
            try:
                pod = orjson.loads((path / "pod.json").read_bytes())
            except FileNotFoundError:
                shutil.rmtree(path)
                continue
            folders.append(cls(data, PodRef.of(pod)))
        return folders

    def create(self, pod: Object) -> None:
        """Make the folders, and note the pod before anything of it runs."""
        for folder in (self.path, self.home, self.temporary, self.volumes, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        write_durably(self.path / "pod.json", orjson.dumps(pod))

    def load_pod(self) -> Object:
        """The pod as it was when it came."""
        pod: Object = orjson.loads((self.path / "pod.json").read_bytes())
        return pod

    def remove_scratch(self) -> None:
        """Free the disk that a finished pod no longer needs; verdict and logs stay."""
        for folder in (self.home, self.temporary, self.volumes):
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Forget the pod: it is gone from the API server."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.logs, ignore_errors=True)

    def save_status(self, status: Object) -> None:
        """Keep a status until the API server has it."""
        write_durably(self.path / "status.json", orjson.dumps(status))

    def load_status(self) -> Object | None:
        """The newest status that was kept."""
        try:
            status: Object = orjson.loads((self.path / "status.json").read_bytes())
        except FileNotFoundError:
            return None
        return status

    def save_process(self, container: str, identity: Identity) -> None:
        """Note a process before its command is executed."""
        write_durably(self.path / f"{container}.pid", orjson.dumps(asdict(identity)))

    def processes(self) -> dict[str, Identity]:
        """The newest process of each container that was ever started."""
        return {path.stem: Identity(**orjson.loads(path.read_bytes())) for path in self.path.glob("*.pid")}

    def marker(self, container: str) -> str:
        """Marks the container's processes, wherever they go."""
        return f"{self.path}/{container}"

    def termination_file(self, container: str) -> Path:
        """Where the container writes its termination message."""
        return self.path / f"{container}.termination"

    def log_file(self, container: str, previous: bool = False) -> Path:
        """Log of the newest attempt, or of the one before."""
        return self.logs / (f"{container}.previous.log" if previous else f"{container}.log")
