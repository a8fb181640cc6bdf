"""`python -m carryon_standalone.apiserver`: the API server in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import sys
from pathlib import Path

from carryon_standalone.apiserver.layout import CannotOpen
from carryon_standalone.apiserver.nodes import GRACE
from carryon_standalone.apiserver.server import Config, running
from carryon_standalone.apiserver.storage import AlreadyServed


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="carryon-apiserver", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the database")
    parser.add_argument("--listen", default="127.0.0.1:0", help="loopback address and port; port 0 picks a free one")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the bearer token")
    parser.add_argument("--logs-dir", type=Path, required=True, help="folder with the logs of pods")
    parser.add_argument("--tls-file", type=Path, help="PEM file with certificate and key; without it: plain http")
    parser.add_argument(
        "--node-grace", type=float, default=GRACE, help="seconds without a sign of life until a node counts as lost"
    )
    parser.add_argument("--verbose", action="store_true", help="write what controllers do to stderr")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not is_loopback(host):
        # Whoever has the token may run programs here; the network is not to get a try at it.
        parser.error(f"--listen {given.listen}: only loopback addresses are served, such as 127.0.0.1 or [::1]")
    if given.node_grace <= 0:
        parser.error(f"--node-grace {given.node_grace:g}: must be more than 0 seconds")
    logging.basicConfig(level=logging.INFO if given.verbose else logging.ERROR)
    try:
        token = given.token_file.read_text(encoding="utf-8").strip()
        if not token:
            parser.error(f"{given.token_file} is empty: put a token into it")
        config = Config(given.data, token, given.logs_dir, host, int(port), given.tls_file, node_grace=given.node_grace)
        asyncio.run(_run(config))
    except (AlreadyServed, CannotOpen) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"the API server can't start: {error}", file=sys.stderr)
        return 1
    return 0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


async def _run(config: Config) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(config) as url:
        print(f"serving on {url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
