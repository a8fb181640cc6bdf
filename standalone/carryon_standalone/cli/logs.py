"""`carryon logs`: what the pods of a job write, each line with its unit in front where there are several.

Pods go once they are counted; the last lines of those that failed lie in the bucket.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from carryon_core import names
from carryon_standalone.cli.cluster import Cluster
from carryon_standalone.cli.errors import CommandError

Pod = Mapping[str, Any]


def units_of(pod: Pod) -> tuple[str, ...]:
    """Stage/item of each unit that a pod was given."""
    metadata = pod["metadata"]
    stage = (metadata.get("labels") or {}).get(names.LABEL_STAGE, "")
    items = json.loads((metadata.get("annotations") or {}).get(names.ANNOTATION_UNITS, "[]"))
    return tuple(f"{stage}/{item}" for item in items)


def chosen(pods: Sequence[Pod], unit: str | None) -> list[Pod]:
    """Pods that work on a unit, named by its item or by stage/item; all pods for None."""
    if unit is None:
        return list(pods)
    return [pod for pod in pods if any(unit in (each, each.partition("/")[2]) for each in units_of(pod))]


def label(pod: Pod) -> str:
    """What stands in front of a pod's lines: its units, the first and the number of others."""
    units = units_of(pod)
    if not units:
        return str(pod["metadata"]["name"])
    return units[0] if len(units) == 1 else f"{units[0]}+{len(units) - 1}"


def lines(cluster: Cluster, pods: Sequence[Pod], *, follow: bool) -> Iterator[str]:
    """Lines of the pods' logs: one pod after the other, or with `follow` as they come, until all pods have ended."""
    prefixed = len(pods) > 1
    named = [(f"{label(pod)} | " if prefixed else "", str(pod["metadata"]["name"])) for pod in pods]
    if not follow or not prefixed:
        for prefix, name in named:
            for line in cluster.log(name, follow=follow):
                yield prefix + line
        return
    yield from _together([_reader(cluster, prefix, name) for prefix, name in named])


def _reader(cluster: Cluster, prefix: str, name: str) -> Callable[[], Iterator[str]]:
    return lambda: (prefix + line for line in cluster.log(name, follow=True))


def _together(sources: Sequence[Callable[[], Iterator[str]]]) -> Iterator[str]:
    """Lines of several sources as they come; a thread for each, because each blocks."""
    arrived: queue.SimpleQueue[str | CommandError | None] = queue.SimpleQueue()

    def read(source: Callable[[], Iterator[str]]) -> None:
        try:
            for line in source():
                arrived.put(line)
        except CommandError as error:
            arrived.put(error)
        finally:
            arrived.put(None)

    for source in sources:
        threading.Thread(target=read, args=(source,), daemon=True).start()
    ended = 0
    while ended < len(sources):
        each = arrived.get()
        if isinstance(each, CommandError):
            raise each
        if each is None:
            ended += 1
        else:
            yield each
