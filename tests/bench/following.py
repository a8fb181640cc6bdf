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
    """What changes from now on; of what there is already nothing is told."""
    version = ""
    async for page in client.list_pages(resource, namespace=namespace, label_selector=label_selector):
        version = page.version
    while True:
        with suppress(ApiError):
            async with client.watch(
                resource, version=version, namespace=namespace, label_selector=label_selector
            ) as events:
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    yield event
