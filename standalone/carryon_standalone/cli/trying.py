"""`carryon try`: the first items of a job as a job of its own, to look at before all of them are made."""

from __future__ import annotations

import copy
import time
from typing import Any, Final

from carryon_core.names import GATHERED
from carryon_core.requests import ALL
from carryon_core.spec import JOB_NAME_LONGEST
from carryon_standalone.cli.cluster import Cluster, NotFound
from carryon_standalone.cli.errors import CommandError

SUFFIX: Final = "-try"
_POLL: Final = 0.2
_GONE_WITHIN: Final = 120.0
_LEFT_OUT: Final = ("suspendUntil", "ttlSecondsAfterFinished")
Job = dict[str, Any]


def trial(job: Job, items: int) -> Job:
    """A job's first items as a job: nobody has to approve, resume or wait, and its artifacts stay when it goes."""
    made = copy.deepcopy(job)
    name = made["metadata"]["name"][: JOB_NAME_LONGEST - len(SUFFIX)].rstrip("-.")
    made["metadata"] = {**made["metadata"], "name": name + SUFFIX}
    made.pop("status", None)
    spec = made["spec"] = {key: value for key, value in made["spec"].items() if key not in _LEFT_OUT}
    wanted = spec["items"]
    if wanted.get("list") is not None:
        wanted["list"] = wanted["list"][:items]
        kept = {item["id"] for item in wanted["list"]}
    elif wanted.get("count") is not None:
        wanted["count"] = min(wanted["count"], items)
        kept = {str(number) for number in range(wanted["count"])}
    else:
        wanted["from"]["first"] = min(wanted["from"].get("first") or items, items)
        kept = {each["item"] for each in spec.get("overrides") or ()}
    spec["overrides"] = [each for each in spec.get("overrides") or () if each["item"] in {*kept, GATHERED}]
    spec["approved"] = {stage["name"]: [ALL] for stage in spec["stages"] if stage.get("approval")}
    spec |= {"suspend": False, "cancel": False}
    if spec.get("output"):
        spec["output"] = {**spec["output"], "onDelete": "Retain"}
    return made


def remove(cluster: Cluster, name: str, namespace: str | None) -> None:
    """Remove an earlier try, and return when it is gone; its artifacts stay, so what did not change is not made again.

    Raises:
        CommandError: It does not go.
    """
    deadline = time.monotonic() + _GONE_WITHIN
    try:
        cluster.delete(name, namespace)
        while time.monotonic() < deadline:
            cluster.job(name, namespace)
            time.sleep(_POLL)
    except NotFound:
        return
    raise CommandError(f"an earlier {name} does not go away: see `kubectl describe gj {name}`")
