"""Run this machine as a node: `python -m carryon_standalone.node --server URL --token-file FILE --data DIR`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import signal
import socket
import sys
from pathlib import Path

from carryon_standalone.node.config import NodeConfig
from carryon_standalone.node.node import FolderTaken, run


def _parse(arguments: list[str]) -> NodeConfig:
    parser = argparse.ArgumentParser(prog="python -m carryon_standalone.node", description=__doc__)
    parser.add_argument("--server", required=True, help="URL of the API server")
    parser.add_argument("--token-file", required=True, type=Path, help="file that holds its bearer token")
    parser.add_argument(
        "--ca-file", type=Path, help="certificate of the API server's authority (default: the system's)"
    )
    parser.add_argument("--data", required=True, type=Path, help="folder for records, volumes and logs of pods")
    parser.add_argument("--name", default=socket.gethostname().lower(), help="name of the Node (default: host name)")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        type=_image,
        metavar="NAME=COMMAND",
        help="command that containers of this image run; may be given several times",
    )
    parser.add_argument("--gpus", type=int, help="GPUs to offer (default: those that nvidia-smi lists)")
    parser.add_argument("--max-pods", type=int, default=110)
    parser.add_argument("--shutdown-grace", type=float, default=10.0, help="longest grace period at shutdown, seconds")
    parser.add_argument("--crash-backoff", type=float, default=10.0, help="first delay before a restart, seconds")
    parser.add_argument("--heartbeat", type=float, default=10.0, help="time between two signs of life, seconds")
    parser.add_argument(
        "--watch-disk", action="append", default=[], type=Path, metavar="DIR", help="further folder that pods write to"
    )
    parser.add_argument(
        "--disk-reserve",
        type=int,
        metavar="BYTES",
        default=os.environ.get("CARRYON_DISK_RESERVE") or None,
        help="free space below which pods end (default: $CARRYON_DISK_RESERVE, else 1 GiB, or 5 %% of the disk)",
    )
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args(arguments)
    if given.heartbeat <= 0:
        parser.error(f"--heartbeat {given.heartbeat:g}: must be more than 0 seconds")
    logging.basicConfig(
        level=logging.DEBUG if given.verbose else logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    return NodeConfig(
        server=given.server,
        token_file=given.token_file,
        data=given.data.resolve(),
        name=given.name,
        images=dict(given.image),
        gpus=given.gpus,
        authority=given.ca_file,
        max_pods=given.max_pods,
        shutdown_grace=given.shutdown_grace,
        crash_backoff=given.crash_backoff,
        heartbeat=given.heartbeat,
        disks=tuple(folder.absolute() for folder in given.watch_disk),
        disk_reserve=given.disk_reserve,
    )


def _image(text: str) -> tuple[str, tuple[str, ...]]:
    name, separator, command = text.partition("=")
    if not (name and separator and command.strip()):
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=COMMAND')
    return name, tuple(shlex.split(command))


async def _main(config: NodeConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(config, stop)


def main() -> None:
    """Entry point."""
    config = _parse(sys.argv[1:])
    try:
        asyncio.run(_main(config))
    except FolderTaken as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
