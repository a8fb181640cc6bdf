"""The process: its settings, its clients, and what ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from carryon_kube import connection
from carryon_kube.client import Client
from carryon_kube.fence import Fence
from carryon_kube.observing import Exchange, Observe
from carryon_operator import config as configuration
from carryon_operator.config import Config
from carryon_operator.health import Bell
from carryon_operator.kube.elector import ApiLeases, Elector
from carryon_operator.leading import identity
from carryon_operator.metrics import Metrics
from carryon_operator.probes import ListenError
from carryon_operator.replica import Replica, on_signals
from carryon_operator.steady import SteadyClock


def main() -> None:
    """Run the operator until SIGTERM or SIGINT."""
    config = configuration.parse(sys.argv[1:], os.environ)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # To kopf, each ring of the bell is two lines.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        asyncio.run(run(config))
    except (connection.ConfigError, ListenError) as error:
        sys.exit(f"carryon-operator: {error}")


async def run(
    config: Config,
    *,
    clock: Callable[[], float] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Reconcile until told to stop.

    Args:
        config: Of this operator.
        clock: Seconds since the epoch; None: those of this machine, without their jumps.
        monotonic: Seconds, for intervals.

    Raises:
        ConfigError: There is no way to reach the API server.
        ListenError: Health cannot be served where it should.
        Exception: Whatever ended a part that should run for ever.
    """
    stop = asyncio.Event()
    on_signals(stop)
    metrics, bell = Metrics(), Bell()

    def observe(exchange: Exchange) -> None:
        metrics.exchanged(exchange)
        bell.observe(exchange)

    async with AsyncExitStack() as stack:
        elector = await _elector(config, stack, observe)
        client = await _client(config, stack, observe, None if elector is None else elector.time_left)
        replica = Replica(
            config,
            client,
            elector,
            stop=stop,
            metrics=metrics,
            bell=bell,
            clock=clock or SteadyClock(),
            monotonic=monotonic,
        )
        await replica.run()


async def _client(config: Config, stack: AsyncExitStack, observe: Observe, fence: Fence | None) -> Client:
    load = partial(connection.load, config.kubeconfig)
    made = Client(load(), reload=load, qps=config.qps, burst=config.burst, fence=fence, observe=observe)
    return await stack.enter_async_context(made)


async def _elector(config: Config, stack: AsyncExitStack, observe: Observe) -> Elector | None:
    if config.election is None:
        return None
    # Of its own: a Lease must not wait for the connections and the turn of ten thousand pods.
    client = await _client(config, stack, observe, None)
    where = (config.election.namespace, config.election.name)
    return Elector(ApiLeases(client, *where), where, identity(), config.election.terms, clock=time.time)


if __name__ == "__main__":
    main()
