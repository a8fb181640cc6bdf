"""Which cluster a command talks to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from carryon_standalone.cli.errors import USAGE, CommandError
from carryon_standalone.home import Home


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, by the file that describes it.

    Attributes:
        kubeconfig: The file; None leaves finding it to the Kubernetes client.
        context: Context in it; None takes the current one.
        namespace: Namespace; None takes the context's.
        home: Data folder, where the cluster is a standalone one of this machine.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    home: Home | None = None


def choose(
    *,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
    data: Path | None,
    may_start: bool = False,
    as_kubectl: bool = False,
) -> Target:
    """The cluster that is meant: --kubeconfig, --data, $KUBECONFIG, else this machine's own.

    Args:
        kubeconfig: As given.
        context: As given; alone it means a context of ~/.kube/config.
        namespace: As given.
        data: Data folder of a standalone control plane, as given.
        may_start: A standalone control plane that was never started will do too.
        as_kubectl: Without any of them it is the one of ~/.kube/config.

    Raises:
        CommandError: There is none.
    """
    if kubeconfig is not None and data is not None:
        raise CommandError("--kubeconfig and --data name two clusters: give one of them", USAGE)
    named = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG") if data is None else None
    if named:
        return Target(named, context, namespace, _home_of(Path(named)))
    if as_kubectl or (context is not None and data is None):
        return Target(None, context, namespace)
    home = Home.of(data)
    if not may_start and not home.kubeconfig.exists():
        raise CommandError(
            f"there is no control plane in {home.root}: start one with `{home.command('up')}`, or name a cluster with"
            " --kubeconfig or KUBECONFIG",
            USAGE,
        )
    return Target(str(home.kubeconfig), context, namespace, home)


def _home_of(kubeconfig: Path) -> Home | None:
    """The data folder that a kubeconfig belongs to, if it is a standalone one's."""
    home = Home.of(kubeconfig.parent)
    return home if kubeconfig.name == home.kubeconfig.name and home.settings.exists() else None
