"""The loop that reconciles: what goes wrong with one job changes nothing for the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from carryon_kube.client import flow
from carryon_kube.errors import ApiError, Conflict
from carryon_operator.kube.workqueue import ShutDown, WorkQueue
from carryon_store import StoreError

_LONGEST_WAIT: Final = 60.0
"""Seconds that a server may ask us to wait."""

log = logging.getLogger(__name__)


def _unobserved(outcome: str, seconds: float) -> None:
    """Nobody measures."""


async def work(
    queue: WorkQueue,
    reconcile: Callable[[str], Awaitable[float | None]],
    reconciled: Callable[[str, float], None] = _unobserved,
) -> None:
    """Reconcile one key after the other until the queue shuts down.

    Args:
        queue: Of keys.
        reconcile: Brings a job to what is wanted; seconds until it wants to be called again, if at all.
        reconciled: Told how each of these ended (done, conflict, api, bucket or error) and the seconds it took.
    """
    clock = asyncio.get_running_loop().time
    while True:
        try:
            key = await queue.get()
        except ShutDown:
            return
        flow.set(key)
        began, outcome = clock(), "error"
        try:
            wait = await reconcile(key)
        except Conflict as error:
            # Somebody wrote in between; that write rings the doorbell, if it did not already.
            outcome = "conflict"
            log.debug("%s: %s; again in %.1f s", key, error, queue.add_rate_limited(key))
        except (ApiError, StoreError) as error:
            outcome = "api" if isinstance(error, ApiError) else "bucket"
            told = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
            wait = queue.add_rate_limited(key, min(told, _LONGEST_WAIT))
            log.warning("%s: %s; again in %.1f s", key, error, wait)
        except Exception:
            log.exception("%s: reconciling failed; again in %.1f s", key, queue.add_rate_limited(key))
        else:
            outcome = "done"
            queue.worked(key, wait)
        finally:
            queue.done(key)
            reconciled(outcome, clock() - began)
