"""Options that several commands take, and what they come to."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

if TYPE_CHECKING:
    from carryon_standalone.cli.cluster import Cluster
    from carryon_standalone.cli.target import Target

P = ParamSpec("P")
PLUGIN: Final = "kubectl-carryon"
"""Program that kubectl runs for `kubectl carryon`."""


Data = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder of the control plane.", show_default="$CARRYON_HOME, else ~/.carryon"),
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for artifacts of jobs that name no output.")]
Gpus = Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs to offer.", show_default="all")]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Cluster to talk to.", show_default="$KUBECONFIG, else this machine's"),
]
KubectlConfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Cluster to talk to.", show_default="$KUBECONFIG, else ~/.kube/config"),
]
Context = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig.", show_default="its current one")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace.", show_default="the context's")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(help="Name of the job.", show_default=False)]
NameOrMany = Annotated[str | None, typer.Argument(help="Name of the job; or say -l.", show_default=False)]
Selector = Annotated[
    str | None,
    typer.Option(
        "--selector", "-l", help="Every job with these labels, such as team=a,tier!=test.", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Files = Annotated[
    list[Path] | None,
    typer.Argument(help="YAML files with GenerationJobs; - reads standard input.", show_default=False),
]
Filenames = Annotated[
    list[Path] | None, typer.Option("--filename", "-f", help="The same, as kubectl has it; may repeat.")
]


@dataclass(frozen=True, slots=True)
class Where:
    """The cluster that is meant, as it was typed; nothing is asked, or even loaded, before a command wants it.

    Attributes:
        as_kubectl: Without a kubeconfig it is the one that kubectl takes, not this machine's own control plane.
    """

    data: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    as_kubectl: bool = False

    def target(self, *, may_start: bool = False) -> Target:
        """The cluster by the file that describes it; with `may_start` also one of this machine that has to be started.

        Raises:
            CommandError: There is none.
        """
        from carryon_standalone.cli.target import choose

        return choose(
            kubeconfig=self.kubeconfig,
            context=self.context,
            namespace=self.namespace,
            data=self.data,
            may_start=may_start,
            as_kubectl=self.as_kubectl,
        )

    def cluster(self) -> Cluster:
        """A connection to it.

        Raises:
            CommandError: There is none.
        """
        from carryon_standalone.cli.cluster import Cluster

        return Cluster(self.target())


def at_cluster(command: Callable[Concatenate[Where, P], None]) -> Callable[..., None]:
    """A command as typer takes it: in the place of its first argument come the options that say which cluster."""

    def called(
        *args: Any,
        data: Path | None,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        **own: Any,
    ) -> None:
        command(Where(data, kubeconfig, context, namespace), *args, **own)

    options = {"data": Data, "kubeconfig": Kubeconfig, "context": Context, "namespace": Namespace}
    return _with_options(called, command, options)


def beside_kubectl(command: Callable[Concatenate[Where, P], None]) -> Callable[..., None]:
    """The same command under kubectl, whose options may also stand before its name."""

    def called(
        ctx: typer.Context,
        *args: Any,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        **own: Any,
    ) -> None:
        before: Where = ctx.obj
        where = Where(
            kubeconfig=kubeconfig or before.kubeconfig,
            context=context or before.context,
            namespace=namespace or before.namespace,
            as_kubectl=True,
        )
        command(where, *args, **own)

    options = {"kubeconfig": KubectlConfig, "context": Context, "namespace": Namespace}
    return _with_options(called, command, options, with_context=True)


def before_the_command(
    ctx: typer.Context, kubeconfig: KubectlConfig = None, context: Context = None, namespace: Namespace = None
) -> None:
    """Take options of kubectl that stand before the command."""
    ctx.obj = Where(kubeconfig=kubeconfig, context=context, namespace=namespace, as_kubectl=True)


def takes_where(command: Callable[..., None]) -> bool:
    """Whether a command is about a cluster."""
    first = next(iter(inspect.signature(command, eval_str=True).parameters.values()), None)
    return first is not None and first.annotation is Where


def program() -> str:
    """What people type for this command: "carryon", or "kubectl carryon"."""
    return "kubectl carryon" if Path(sys.argv[0]).name.replace("_", "-") == PLUGIN else "carryon"


def _with_options(
    called: Callable[..., None], command: Callable[..., None], options: dict[str, Any], *, with_context: bool = False
) -> Callable[..., None]:
    """Give a function the name, the text and the parameters of a command, and the options after them."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    kinds = inspect.Parameter
    # All by keyword: that is how typer calls, and defaults may stand before what has none.
    parameters = [each.replace(kind=kinds.KEYWORD_ONLY) for each in own]
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in options.items()]
    if with_context:
        parameters.insert(0, kinds("ctx", kinds.KEYWORD_ONLY, annotation=typer.Context))
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__module__, called.__qualname__ = command.__module__, command.__qualname__
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called
