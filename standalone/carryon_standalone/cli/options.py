"""Options that several commands take, and what they come to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from carryon_standalone.cli.cluster import Cluster


class Format(StrEnum):
    """How to print jobs."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class DataType(StrEnum):
    """Type of a model's weights."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


Data = Annotated[
    Path | None, typer.Option("--data", help="Data folder of the control plane. [default: $CARRYON_HOME or ~/.carryon]")
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for artifacts of jobs that name no output.")]
Gpus = Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs to offer. [default: all]")]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Cluster to talk to. [default: $KUBECONFIG, else this machine's]")
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace. [default: the context's]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(help="Name of the job.", show_default=False)]
Files = Annotated[list[Path], typer.Argument(help="YAML files with GenerationJobs; - reads standard input.")]


def connect(data: Path | None, kubeconfig: Path | None, context: str | None, namespace: str | None) -> Cluster:
    """The cluster that the options mean."""
    from carryon_standalone.cli.cluster import Cluster
    from carryon_standalone.cli.target import choose

    return Cluster(choose(kubeconfig=kubeconfig, context=context, namespace=namespace, data=data))
