"""`carryon support`: what helps whoever has to find out why a job does not do what it should, in one file."""

from __future__ import annotations

import base64
import platform
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from carryon_standalone.cli.errors import USAGE, CommandError
from carryon_standalone.cli.naming import as_typed
from carryon_standalone.cli.options import Name, Where

if TYPE_CHECKING:
    from carryon_jobs.support import Evidence
    from carryon_standalone.cli.cluster import Cluster
    from carryon_standalone.home import Home

_PROGRAM_LINES: Final = 300
T = TypeVar("T")


def support(
    where: Where,
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.", show_default="NAME-support.zip")
    ] = None,
) -> None:
    """Pack what helps to find out what is wrong with a job: status, events, logs, versions; no prompts, no secrets."""
    from carryon_jobs import support as reports
    from carryon_jobs.job import Job

    target = where.target()
    cluster = where.cluster()
    raw = cluster.job(name)
    packed = reports.pack(Job(raw, cluster.secret), evidence(cluster, raw, target.home))
    path = output or Path(f"{name}-support.zip")
    try:
        with path.open("xb") as file:
            file.write(packed)
    except FileExistsError:
        raise CommandError(f"{path} is there already: name another with --output", USAGE) from None
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}", USAGE) from None
    typer.echo(as_typed(f"{path} has the report on {name}: look through it before you pass it on"))


def evidence(cluster: Cluster, job: dict[str, Any], home: Home | None) -> Evidence:
    """What a cluster tells about a job; what it does not tell is in `problems`."""
    from carryon_jobs import support as reports

    name, namespace, uid = (job["metadata"][field] for field in ("name", "namespace", "uid"))
    problems: list[str] = []

    def asked(what: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except CommandError as error:
            problems.append(f"{what}: {error}")
            return None

    pods = asked("pods", partial(cluster.pods, name)) or []
    uids = {uid, *(pod["metadata"]["uid"] for pod in pods)}
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))[-reports.PODS_MOST :]
    logs = {
        pod["metadata"]["name"]: asked(
            f"the log of {pod['metadata']['name']}",
            partial(cluster.log_tail, pod["metadata"]["name"], lines=reports.TAIL_LINES, limit=reports.TAIL_BYTES),
        )
        for pod in newest
        if reports.wrote(pod)
    }
    named = reports.secrets_of(job, pods)
    read = {name: asked("a Secret that the job names", partial(cluster.secret, name)) for name in named}
    secrets = [
        base64.b64decode(value).decode(errors="replace") for data in read.values() for value in (data or {}).values()
    ]
    return reports.Evidence(
        pods=pods,
        events=[each for each in asked("events", cluster.events) or () if reports.about(each, uids, name)],
        logs={pod: log for pod, log in logs.items() if log is not None},
        operator=asked("conditions of the operator", cluster.installed) or [],
        program_logs={} if home is None else dict(_programs(home, namespace, name)),
        versions={
            "carryon": version("carryon"),
            "Kubernetes": asked("version of Kubernetes", cluster.version) or "",
            "Python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "kernel": platform.release(),
        },
        secrets=secrets,
        unread=[name for name, data in read.items() if data is None],
        problems=problems,
    )


def _programs(home: Home, namespace: str, name: str) -> Iterator[tuple[str, str]]:
    """The last lines that programs of this machine's control plane wrote about a job, and about no other."""
    named = rf"({re.escape(namespace)}/)?{re.escape(name)}(-[0-9a-f]{{10}}-[0-9]+)?"
    mine = re.compile(rf"(?<![\w./-]){named}(?![\w.-])")
    for program in ("operator", "node"):
        path = home.logs / f"{program}.log"
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as lines:
                about = "".join([line for line in lines if mine.search(line)][-_PROGRAM_LINES:])
            if about:
                yield program, about
