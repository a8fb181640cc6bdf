"""Every change of objects of a kind, over the ends of single watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from carryon_kube.client import Client, WatchEvent
from carryon_kube.errors import ApiError
from carryon_kube.resources import Resource


async def changes(
    client: Client, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
) -> AsyncIterator[WatchEvent]:
    """Every change since this returned; of what there was before nothing is told."""
    version = ""
    async for page in client.list_pages(resource, namespace=namespace, label_selector=label_selector):
        version = page.version
    return _since(version, client, resource, namespace, label_selector)


async def _since(
    version: str, client: Client, resource: Resource, namespace: str | None, label_selector: str
) -> AsyncIterator[WatchEvent]:
    while True:
        with suppress(ApiError):
            async with client.watch(
                resource, version=version, namespace=namespace, label_selector=label_selector
            ) as events:
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    yield event
