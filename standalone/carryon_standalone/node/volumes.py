"""Volumes of a pod as folders of this machine.

A process has no mounts of its own. So wherever an argument, a variable or the working directory begins with a
`mountPath`, it is rewritten to the folder behind the mount: `/scratch/frames` becomes
`DATA/pods/UID/volumes/scratch/frames`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from carryon_standalone.node.environment import ConfigError, Sources
from carryon_standalone.node.pods import Object


@dataclass(frozen=True)
class Mount:
    """One mount of a container: what it calls the folder, and where the folder is."""

    path: str
    folder: Path


def folder_of(volume: Object, volumes: Path) -> Path:
    """The folder behind a volume.

    Raises:
        ConfigError: The volume is of a kind that one machine does not offer.
    """
    if "hostPath" in volume:
        return Path(volume["hostPath"]["path"])
    if {"emptyDir", "configMap", "secret"} & set(volume):
        return volumes / str(volume["name"])
    kind = next((key for key in volume if key != "name"), "emptyDir")
    raise ConfigError(
        f'volume "{volume["name"]}" is of kind {kind}: this machine offers emptyDir, hostPath, configMap and secret '
        "volumes; use one of these"
    )


def references(pod: Object) -> Iterator[tuple[str, str]]:
    """Secrets and ConfigMaps that a pod's volumes need, as ("Secret" or "ConfigMap", name)."""
    for volume in pod["spec"].get("volumes") or ():
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]


def write(pod: Object, volumes: Path, sources: Sources) -> None:
    """Make the folders of a pod's volumes, and the files of its Secrets and ConfigMaps.

    Raises:
        ConfigError: A volume can't be made; the message says why.
    """
    for volume in pod["spec"].get("volumes") or ():
        folder = folder_of(volume, volumes)
        if "hostPath" in volume:
            _check_host_path(volume["name"], volume["hostPath"])
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for kind, key, name_key in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
            if key in volume:
                source = volume[key]
                values = sources.values(
                    kind, source[name_key], pod["metadata"]["namespace"], bool(source.get("optional"))
                )
                _write_files(folder, source, values, 0o600 if kind == "Secret" else 0o644)


def _check_host_path(name: str, source: Object) -> None:
    path, kind = Path(source["path"]), source.get("type", "")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    if kind and not path.exists():
        raise ConfigError(f'volume "{name}": {path} does not exist on this machine')


def _write_files(folder: Path, source: Object, values: dict[str, bytes], mode: int) -> None:
    items = source.get("items")
    paths = {item["key"]: item["path"] for item in items} if items else {key: key for key in values}
    for key, path in paths.items():
        if key not in values:
            if source.get("optional"):
                continue
            raise ConfigError(f"references non-existent config key: {key}")
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=mode)
        file.write_bytes(values[key])


def mounts(container: Object, pod: Object, volumes: Path, termination_file: Path) -> tuple[Mount, ...]:
    """The mounts of a container, longest path first, so that a mount inside another one wins.

    The file of the termination message is one of them.

    Raises:
        ConfigError: A mount names no volume of the pod, or one of a kind that is not offered.
    """
    folders = {volume["name"]: folder_of(volume, volumes) for volume in pod["spec"].get("volumes") or ()}
    found = [Mount(container.get("terminationMessagePath", "/dev/termination-log"), termination_file)]
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in folders:
            raise ConfigError(f'volumeMount "{mount["name"]}" names no volume of the pod: add it to spec.volumes')
        folder = folders[mount["name"]] / mount.get("subPath", "")
        found.append(Mount(mount["mountPath"].rstrip("/"), folder))
    return tuple(sorted(found, key=lambda mount: len(mount.path), reverse=True))


def rewrite(text: str, mounts: Sequence[Mount]) -> str:
    """A path of the container as a path of this machine; any other text stays as it is."""
    for mount in mounts:
        if text == mount.path or text.startswith(mount.path + "/"):
            return str(mount.folder) + text[len(mount.path) :]
    return text
