"""What the commands on our pages are held to: each program's own parser, and what it would meet there."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import boto3
import helm_python
import typer
from botocore.validate import ParamValidator

import kubectl_rules
from carryon_api import app as api_application
from carryon_api.config import Config as ApiConfig
from carryon_api.config import parse as parse_api
from carryon_operator.config import parse as parse_operator
from carryon_standalone.cli import app
from chart_release import loaded
from documents import ROOT, Command, Wrong


def check(command: Command) -> None:
    """Hold a command to what its program takes.

    Raises:
        Wrong: It would be refused, or nobody here knows the program.
    """
    if not command.words:
        for name in command.variables:
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
                raise Wrong(f"{name} is no variable of the environment")
        return
    program = command.words[0]
    if program not in RULES:
        raise Wrong(f"nothing here knows what {program} takes: give it a rule in tests/command_rules.py")
    try:
        RULES[program](command)
    except SystemExit as error:
        raise Wrong(f"{program} would end with exit status {error.code}") from error


# -- ours


def _carryon(command: Command) -> None:
    _typed("carryon", command.words[1:])


@cache
def _group(name: str) -> Any:
    """The command with those in it: Typer's own classes, of which its stubs show nothing."""
    return typer.main.get_command({"carryon": app.carryon, "kubectl carryon": app.kubectl_carryon}[name]())


def _typed(name: str, words: Sequence[str]) -> None:
    group = _group(name)
    before = next((at for at, word in enumerate(words) if word in group.commands), None)
    if before is None:
        if words and all(any(word in each.opts for each in group.params) or word == "--help" for word in words):
            return
        raise Wrong(f"{name} has no command {words[:1]}: there are {', '.join(group.commands)}")
    try:
        outer = group.make_context(name, list(words[: before + 1]), resilient_parsing=False)
        group.commands[words[before]].make_context(words[before], list(words[before + 1 :]), parent=outer)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise Wrong(f"{words[before]}: {error.format_message()}") from error


def _operator(command: Command) -> None:
    parse_operator(command.words[1:], {})


def _api(command: Command) -> None:
    parse_api(command.words[1:], {})


def _python(command: Command) -> None:
    """One of our own programs, which says by --help what it takes."""
    match command.words[1:]:
        case ("-m", module, *_) if module.startswith("carryon_"):
            return
        case (path, *given) if (file := _example(path)) is not None:
            known = set(re.findall(r'add_argument\(\s*"([\w-]+)"', file.read_text(encoding="utf-8")))
            if unknown := {each for each in given if each.startswith("--")} - known:
                raise Wrong(f"{path} does not take {', '.join(unknown)}")
        case _:
            raise Wrong(f"{command}: only programs in examples/ are known")


def _example(path: str) -> Any:
    file = ROOT / "examples" / path.removeprefix("examples/")
    return file if file.is_file() else None


def _make(command: Command) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):(?!=)", text, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE))
    for word in command.words[1:]:
        name, given, _ = word.partition("=")
        if name not in (variables if given else targets):
            raise Wrong(f"the Makefile has no {'variable' if given else 'target'} {name}")


def named_in_passing(text: str) -> str | None:
    """What is wrong with a command of ours that stands in a sentence, where what it acts on may be left out.

    Returns:
        None where it is none of ours, or there is nothing.
    """
    words = text.split()
    if words[:1] == ["make"] and len(words) > 1:
        try:
            _make(Command(tuple(word for word in words if not word.isupper())))
        except Wrong as error:
            return str(error)
    name = "kubectl carryon" if words[:2] == ["kubectl", "carryon"] else "carryon"
    rest = words[len(name.split()) :]
    if " ".join(words[: len(name.split())]) != name or not rest or not re.match("[a-z]", rest[0]):
        return None
    command = _group(name).commands.get(rest[0])
    if command is None:
        return f"{name} has no command {rest[0]}"
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return f"{name} {rest[0]} takes no {', '.join(unknown)}" if unknown else None


# -- Kubernetes


def _kubectl(command: Command) -> None:
    if command.words[1:2] == ("carryon",):
        _typed("kubectl carryon", command.words[2:])
    else:
        kubectl_rules.check(command)


_HELM: Final[Mapping[str, Sequence[str]]] = {
    verb: ("--namespace", "-n", "--set", "-f", "--values", *more)
    for verb, more in {
        "install": ("--create-namespace", "--wait", "--version"),
        "upgrade": ("--install", "--create-namespace", "--reuse-values", "--reset-then-reuse-values", "--wait"),
        "rollback": (),
        "uninstall": (),
        "template": ("--output-dir",),
        "test": ("--logs",),
        "status": (),
        "history": (),
        "get": (),
    }.items()
}
_HELM_SWITCHES: Final = {"--create-namespace", "--wait", "--reuse-values", "--reset-then-reuse-values", "--install"}


def _helm(command: Command) -> None:
    verb = command.words[1]
    if verb not in _HELM:
        raise Wrong(f"helm {verb} is not known here")
    rest: list[str] = []
    waiting = iter(command.words[2:])
    for word in waiting:
        if not word.startswith("-"):
            rest.append(word)
            continue
        name, equals, given = word.partition("=")
        if name not in _HELM[verb]:
            raise Wrong(f"helm {verb} takes no {name} that is known here")
        if not equals and name not in _HELM_SWITCHES and name != "--logs":
            given = next(waiting, "")
        if name == "--set":
            try:
                loaded().validate_schema(helm_python.parse_set_string(given))
            except helm_python.HelmError as error:
                raise Wrong(f"--set {given}: {error}") from error
    if verb in ("install", "upgrade", "template") and not (ROOT / rest[1] / "Chart.yaml").is_file():
        raise Wrong(f"there is no chart in {rest[1]}")


# -- others


@cache
def _version() -> str:
    (found,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def _container(command: Command) -> None:
    program, verb, *rest = command.words
    if verb not in ("push", "pull", "tag", "build", "run", "login"):
        raise Wrong(f"{program} {verb} is not known here")
    for image in re.findall(r"\b(carryon(?:-worker)?):([\w.]+)", " ".join(rest)):
        if image[1] != _version():
            raise Wrong(f"{':'.join(image)} is not of this version, {_version()}")


@cache
def _routes() -> tuple[tuple[str, re.Pattern[str]], ...]:
    made = api_application.create(ApiConfig()).openapi()["paths"]
    return tuple(
        (method, re.compile(re.sub(r"\{path\}", "[^?]+", re.sub(r"\{(?!path)\w+\}", "[^/?]+", path))))
        for path, operations in made.items()
        for method in operations
    )


def _curl(command: Command) -> None:
    parser = argparse.ArgumentParser(prog="curl", exit_on_error=False)
    for name, switch in (("-f", True), ("-N", True), ("-s", True), ("-H", False), ("-o", False), ("-T", False)):
        parser.add_argument(name, **({"action": "store_true"} if switch else {}))
    parser.add_argument("-X")
    parser.add_argument("--data-binary")
    parser.add_argument("url")
    given = parser.parse_args(command.words[1:])
    method = given.X or ("PUT" if given.T else "POST" if given.data_binary else "GET")
    found = re.match(r"(?:https?://[^/]+|\$\w+)(/[^?]*)", given.url)
    if found is None:
        raise Wrong(f"{given.url} names no path")
    if not any(method.lower() == each and route.fullmatch(found[1]) for each, route in _routes()):
        raise Wrong(f"the API has no {method} {found[1]}")


def _aws(command: Command) -> None:
    """Held to what botocore, which the program is made of, knows of the service."""
    _, service, operation, *rest = command.words
    if service == "s3":
        if operation not in ("cp", "sync", "ls"):
            raise Wrong(f"aws s3 {operation} is not known here")
        return
    if service != "s3api":
        raise Wrong(f"aws {service} is not known here")
    client: Any = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    mapping = {python.replace("_", "-"): name for python, name in client.meta.method_to_api_mapping.items()}
    if operation not in mapping:
        raise Wrong(f"aws s3api has no {operation}")
    shape = client.meta.service_model.operation_model(mapping[operation]).input_shape
    given = {}
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        name = "".join(part.capitalize() for part in option.removeprefix("--").split("-"))
        given[name] = json.loads(value) if value.startswith(("{", "[")) else value
    report = ParamValidator().validate(given, shape)
    if report.has_errors():
        raise Wrong(report.generate_report())


def _plain(command: Command) -> None:
    """Programs of every system; that they do what the page says shows where their block runs as a whole."""


RULES: Final[Mapping[str, Callable[[Command], None]]] = {
    "carryon": _carryon,
    "carryon-api": _api,
    "carryon-operator": _operator,
    "kubectl": _kubectl,
    "helm": _helm,
    "make": _make,
    "python": _python,
    "docker": _container,
    "podman": _container,
    "curl": _curl,
    "aws": _aws,
    **dict.fromkeys(
        ("cat", "cd", "date", "echo", "export", "find", "jq", "ls", "mkdir", "openssl", "printf", "sed"), _plain
    ),
}
PLAIN: Final = frozenset(name for name, rule in RULES.items() if rule is _plain)
