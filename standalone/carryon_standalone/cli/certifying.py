"""`carryon certify`: what the worker beside this command finds out about a pipeline."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from carryon_standalone.cli.choices import DataType
from carryon_standalone.cli.errors import FAILED, INTERRUPTED, USAGE, CommandError
from carryon_standalone.cli.options import Json

_COMMAND: Final = (sys.executable, "-m", "carryon_worker.certify")
Verdict: TypeAlias = Mapping[str, Any]


def certify(
    model: Annotated[str, typer.Argument(help="Folder, file:// or s3:// uri, or hub id of a saved pipeline.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Its class.", show_default="the model's own")
    ] = None,
    scheduler: Annotated[
        list[str] | None,
        typer.Option("--scheduler", help="CLASS or CLASS:FIELD=VALUE,...; may repeat.", show_default="the model's own"),
    ] = None,
    dtype: Annotated[DataType, typer.Option("--dtype", help="Type of the weights.")] = DataType.BFLOAT16,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="NAME=VALUE, an argument of its call: JSON, text, or @FILE; may repeat."),
    ] = None,
    params: Annotated[Path | None, typer.Option("--params", help="YAML or JSON file with arguments.")] = None,
    memory: Annotated[
        list[str] | None,
        typer.Option("--memory", help="KNOB=VALUE of generate.diffusers.memory, such as offload=model; may repeat."),
    ] = None,
    cuts: Annotated[int, typer.Option("--cuts", min=1, max=100, help="How often the unit is interrupted.")] = 3,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Find out whether a pipeline resumes exactly on this machine, and what a checkpoint costs.

    Makes one unit uninterrupted twice, then interrupted and resumed in new processes. Arguments that are not given are
    chosen by name. Exit code: 0 when all is certified, 1 otherwise.
    """
    # Whoever ends us with SIGTERM means what Ctrl-C means.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    question = {
        "model": model,
        "pipeline": pipeline,
        "dtype": dtype.value,
        "cuts": cuts,
        "schedulers": [chosen(text) for text in scheduler or ()],
        "params": parameters(params, param or ()),
        "memory": knobs(memory or ()),
    }
    verdicts, rows = ask(question)
    if as_json:
        typer.echo(json.dumps(verdicts, indent=2))
    elif markdown:
        typer.echo(rows, nl=False)
    else:
        from carryon_standalone.cli import verdict_table
        from carryon_standalone.cli.printing import print_rich

        print_rich(verdict_table.table(verdicts))
    raise typer.Exit(0 if all(verdict["certified"] for verdict in verdicts) else FAILED)


def parameters(file: Path | None, given: Sequence[str]) -> dict[str, Any]:
    """Arguments of a pipeline, from a file and from the command line, which counts more.

    Args:
        file: YAML or JSON with one object.
        given: `name=value` each; the value is JSON, else text, or `@path` for a file.

    Raises:
        CommandError: They are not of this form.
    """
    found = {} if file is None else _from_file(file)
    return {**found, **dict(_named("--param", text) for text in given)}


def chosen(text: str) -> dict[str, Any]:
    """A scheduler as it is typed: `Class`, or `Class:field=value,field=value`.

    Raises:
        CommandError: It is not of this form.
    """
    name, _, rest = text.partition(":")
    return {"name": name, "params": dict(_named("--scheduler", each) for each in rest.split(",") if each)}


def knobs(given: Sequence[str]) -> dict[str, Any]:
    """Memory knobs, `name=value` each, as in a job.

    Raises:
        CommandError: There is none of this name, or it can't have this value.
    """
    from pydantic import ValidationError

    from carryon_core.memory import Memory

    found = dict(_named("--memory", text) for text in given)
    try:
        Memory.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where, known = ".".join(map(str, first["loc"])), ", ".join(Memory.model_json_schema()["properties"])
        raise CommandError(f"--memory {where}: {first['msg']}; there are {known}", USAGE) from None
    return found


def ask(question: Mapping[str, Any]) -> tuple[Sequence[Verdict], str]:
    """Verdicts, and the same as Markdown; meanwhile stderr says what is done.

    Raises:
        CommandError: No worker is installed here, or it failed.
    """
    with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate(json.dumps(question))
        except KeyboardInterrupt:
            # Ctrl-C has reached it too: it takes the first of both.
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise CommandError("interrupted: nothing is certified", INTERRUPTED) from None
    if process.returncode == USAGE:
        raise CommandError("nothing is certified", USAGE)
    try:
        answer = json.loads(said)
        return answer["verdicts"], answer["markdown"]
    except ValueError:
        raise CommandError(
            "no worker answers beside this command: install torch, and Carryon with its extra `worker`", FAILED
        ) from None


def _from_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise CommandError(f"{path} can't be read: {reason}", USAGE) from None
    except yaml.YAMLError as error:
        raise CommandError(f"{path} is no YAML: {' '.join(str(error).split())}", USAGE) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise CommandError(f"{path} should hold one object: arguments of the pipeline by name", USAGE)
    return found


def _named(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise CommandError(f"{option} {text}: write name=value", USAGE)
    if value.startswith("@"):
        path = Path(value[1:])
        if not path.is_file():
            raise CommandError(f"{option} {text}: there is no file {path}", USAGE)
        return name, {"file": str(path.absolute())}
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
