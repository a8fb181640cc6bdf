"""How the units of one stage are made from its templates: rendered when they are needed, not kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from carryon_core import prompts, templates
from carryon_core.errors import SpecError
from carryon_core.fingerprint import canonical
from carryon_core.names import GATHERED, PREVIOUS
from carryon_core.overrides import overrides_of
from carryon_core.spec import JobSpec, Stage

UNIT_LONGEST: Final = 64 * 1024
"""Characters of one unit's configuration: it must travel in an assignment."""
URI_LONGEST: Final = 1024
DEEPEST: Final = 100
"""Levels of lists and mappings in a configuration: libraries that read it stop not far beyond."""
_URI: Final = re.compile(r"(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/|file:///)[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f/]")
_UPWARDS: Final = re.compile(r"(/|%2f)([.]|%2e){2}(/|%2f|$)", re.IGNORECASE)
_HOW: Final = {"diffusers": {"memory"}}
"""Fields of a generator that say how a unit is computed, not what it is; pods get them beside it."""
_HOW_IT_IS_ASKED: Final = frozenset({"secret", "poll", "giveUpSeconds"})
"""Fields of `http` that change nothing of what the service is to make."""
_WRITTEN: Final = ("$input", "$file")
"""Keys that stand for files in what a worker gets: nobody else may write them."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One unit's configuration.

    Attributes:
        generate: The generator's configuration; inputs are `FileRef`, files are `File`.
        files: Uris it names, each once.
        previous: It takes inputs from the same stage's unit of the item before.
    """

    generate: Mapping[str, Any]
    files: tuple[str, ...]
    previous: bool

    def plain(self, files: Mapping[str, str | None]) -> dict[str, Any]:
        """As JSON for a worker: inputs written out as {"$input": {...}}, files as {"$file": {...}}."""
        made: dict[str, Any] = _written(self.generate, lambda uri: {"uri": uri, "sha256": files.get(uri)})
        return made

    def text(self, files: Mapping[str, str | None]) -> str:
        """Canonical JSON of what counts: of a file that is its content, wherever it lies; previews do not."""
        return canonical(_written(counting(self.generate), lambda uri: {"sha256": files.get(uri)}))


@dataclass(frozen=True)
class Recipe:
    """One stage's templates and what they may name.

    Attributes:
        inputs: Names of the stages that inputs come from.
        template: The generator's configuration before templating.
        gathers: It makes one unit of the whole job.
        previous: Its templates name `inputs.previous`.
        overrides: Item id -> params that replace the item's own.
    """

    stage: str
    job: Mapping[str, str]
    inputs: tuple[str, ...]
    template: Mapping[str, Any]
    gathers: bool
    previous: bool
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def has_files(self) -> bool:
        """Its templates or overrides name files themselves."""
        return any(
            templates.has_files(list(params.values()))
            for params in (
                self.template.get("diffusers", {}).get("params", {}),
                self.template.get("http", {}).get("body", {}),
                *self.overrides.values(),
            )
        )

    def render(self, number: int, item: str, params: Mapping[str, Any]) -> Rendered:
        """The configuration of one unit.

        Args:
            number: Index of the item.
            item: Id of the item; `GATHERED` where the stage gathers.
            params: Of the item.

        Raises:
            SpecError: A template can't be rendered, or what it makes is no configuration.
        """
        where = f'stage "{self.stage}"' if self.gathers else f'stage "{self.stage}", item "{item}"'
        try:
            generate = self._rendered(self._scope(number, item, params))
            uris: dict[str, None] = {}
            previous = _look(generate, uris)
            return Rendered(generate, tuple(uris), previous)
        except templates.TemplateError as error:
            raise SpecError("InvalidTemplate", f"{where}: {error}") from None
        except ValueError as error:
            raise SpecError("InvalidParameter", f"{where}: {error}") from None

    def _rendered(self, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        if "text" in self.template:
            return {"text": prompts.render(self.template["text"], scope)}
        return _typed(templates.render(self.template, scope))

    def text(self, rendered: Rendered, item: str, files: Mapping[str, str | None]) -> str:
        """Canonical JSON of a rendered unit, for its fingerprint.

        Raises:
            SpecError: It is no JSON, or too long to travel.
        """
        try:
            text = rendered.text(files)
            size = len(canonical(rendered.plain(files))) if rendered.files else len(text)
            check_text(text)
        except ValueError as error:
            raise SpecError("InvalidParameter", f'stage "{self.stage}", item "{item}": {error}') from None
        if size > UNIT_LONGEST:
            raise SpecError(
                "UnitTooLarge",
                f'stage "{self.stage}", item "{item}": its configuration is {size} characters after templating; keep'
                f" it under {UNIT_LONGEST}",
            )
        return text

    def _scope(self, number: int, item: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        inputs = {name: templates.FileRef(name) for name in self.inputs}
        scope: dict[str, Any] = {"job": self.job, "stage": {"name": self.stage}, "inputs": inputs}
        if self.gathers:
            return scope
        if self.previous and number:
            inputs[PREVIOUS] = templates.FileRef(PREVIOUS)
        own = {**params, **self.overrides.get(item, {})}
        scope["item"] = {
            **{name: templates.with_files(value) for name, value in own.items()},
            "id": item,
            "index": number,
        }
        return scope


def recipes_of(namespace: str, name: str, spec: JobSpec, ids: Container[str]) -> list[Recipe]:
    """The recipes of a job's stages, in their order.

    Args:
        namespace: Of the job.
        name: Of the job.
        spec: Of the job.
        ids: Of its items.

    Raises:
        SpecError: A template can't be parsed or names what is not there for any item, or an override can't hold.
    """
    overrides = overrides_of(spec, ids)
    recipes = []
    for stage in spec.stages:
        try:
            template = stage.generate.model_dump(
                by_alias=True, mode="json", exclude_defaults=True, exclude_none=True, exclude=_HOW
            )
        except ValueError:
            raise too_deep() from None
        try:
            named = templates.names(template)
        except templates.TemplateError as error:
            raise SpecError("InvalidTemplate", f'stage "{stage.name}": {error}') from None
        recipe = Recipe(
            stage=stage.name,
            job={"name": name, "namespace": namespace},
            inputs=tuple(other.name for other in spec.stages if other.name in stage.after),
            template=template,
            gathers=stage.each == GATHERED,
            previous=f"inputs.{PREVIOUS}" in named,
            overrides=overrides.get(stage.name, {}),
        )
        if recipe.gathers:
            _check_gathering(stage, recipe)
        recipes.append(recipe)
    return recipes


def _check_gathering(stage: Stage, recipe: Recipe) -> None:
    """Look whether a stage that gathers has something to gather, and names no item: there is none."""
    if not stage.after:
        raise SpecError("InvalidStage", f'stage "{stage.name}" gathers, but nothing: name stages in its `after`')
    for name in sorted(templates.names(recipe.template)):
        if name.partition(".")[0] == "item":
            raise SpecError(
                "InvalidTemplate",
                f'stage "{recipe.stage}": a template names {name}, but a stage with `each: {GATHERED}` is made once, of'
                " all items; use job, stage and inputs, which are lists of files there",
            )
        if name == f"inputs.{PREVIOUS}":
            raise SpecError(
                "InvalidTemplate",
                f'stage "{recipe.stage}": a template names {name}, but a stage with `each: {GATHERED}` has no item'
                " before its own; take it out",
            )


def counting(generate: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration without what changes nothing that is made.

    Args:
        generate: Before templating or after, defaults left out.
    """
    if "http" in generate:
        return {"http": {name: value for name, value in generate["http"].items() if name not in _HOW_IT_IS_ASKED}}
    given = generate.get("diffusers", {})
    if "previews" not in given.get("output", {}):
        return generate
    output = {name: value for name, value in given["output"].items() if name != "previews"}
    kept = {**given, "output": output} if output else {name: given[name] for name in given if name != "output"}
    return {**generate, "diffusers": kept}


def too_deep() -> SpecError:
    """What is said of params that Python's own limit stops."""
    return SpecError("InvalidParameter", "params nest lists and mappings too deep: keep them to a hundred levels")


def check_text(text: str) -> None:
    """Look whether a text can be written down: JSON may hold half a character.

    Raises:
        ValueError: It can't.
    """
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        half = f"{ord(text[error.start]):x}"
        raise ValueError(f"a text holds half a character (\\u{half}): take it out") from None


def _typed(rendered: Mapping[str, Any]) -> Mapping[str, Any]:
    """Programs get text, pipelines and services get files where their params name some."""
    if "command" in rendered:
        return {**rendered, "command": _as_command(rendered["command"])}
    if "http" in rendered:
        return {**rendered, "http": _as_http(rendered["http"])}
    given = rendered.get("diffusers", {})
    if isinstance(given.get("model"), templates.FileRef | templates.File):
        raise templates.TemplateError("model is a file: it must be text, the uri of a folder or an id on a model hub")
    for adapter in given.get("adapters", ()):
        if any(isinstance(value, templates.FileRef | templates.File) for value in adapter.values()):
            raise templates.TemplateError(
                "an adapter's model is a file: it must be text, the uri of a folder or file or an id on a model hub"
            )
    if "params" in given:
        params = {name: templates.with_files(value) for name, value in given["params"].items()}
        return {**rendered, "diffusers": {**given, "params": params}}
    return rendered


def _as_command(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """Programs take text: arguments and variables that a template made into something else are written out."""

    def written(part: Any) -> Any:
        return part if isinstance(part, str | templates.FileRef | templates.File) else templates.as_text(part)

    env = [{**each, "value": written(each.get("value", ""))} for each in command.get("env", ())]
    return {**command, "args": [written(part) for part in command["args"]], **({"env": env} if env else {})}


def _as_http(http: Mapping[str, Any]) -> Mapping[str, Any]:
    """Only the body of a request can hold a file."""

    def written(part: Any, where: str) -> str:
        if isinstance(part, templates.FileRef | templates.File):
            raise templates.TemplateError(f"{where} is a file: it must be text; files go into body")
        return part if isinstance(part, str) else templates.as_text(part)

    headers = [{**each, "value": written(each["value"], f"header {each['name']}")} for each in http.get("headers", ())]
    body = {name: templates.with_files(value) for name, value in http.get("body", {}).items()}
    return {
        **http,
        "url": written(http["url"], "url"),
        **({"headers": headers} if headers else {}),
        **({"body": body} if body else {}),
    }


def _look(value: Any, uris: dict[str, None], levels: int = DEEPEST) -> bool:
    """Note the files that a configuration names; whether it takes inputs from the item before."""
    if not levels:
        raise ValueError(f"lists and mappings nest too deep: keep them to {DEEPEST} levels")
    match value:
        case str() | int() | float() | None:
            return False
        case templates.FileRef(stage=stage):
            return stage == PREVIOUS
        case templates.File(uri=uri):
            uris[check_uri(uri)] = None
            return False
        case dict() | Mapping():
            for key in _WRITTEN:
                if key in value:
                    raise ValueError(f"params must not have the key {key}, which stands for files; choose another name")
            return any([_look(inner, uris, levels - 1) for inner in value.values()])
        case list() | tuple():
            return any([_look(inner, uris, levels - 1) for inner in value])
    return False


def check_uri(uri: str) -> str:
    """The uri of a file parameter, if it is one.

    Raises:
        ValueError: It is not.
    """
    if not _URI.fullmatch(uri):
        raise ValueError(f'the file "{uri[:100]}" must be s3://bucket/key or file:///absolute/path')
    if len(uri) > URI_LONGEST:
        raise ValueError(f'the uri of the file "{uri[:100]}..." must be at most {URI_LONGEST} characters')
    if _UPWARDS.search(uri):
        raise ValueError(f'the uri of the file "{uri[:100]}" must not contain ..: write the path out')
    return uri


def _written(value: Any, file: Any) -> Any:
    """JSON of what a template made."""
    match value:
        case str() | int() | float() | None:
            return value
        case templates.FileRef(stage=stage, name=name):
            return {"$input": {"stage": stage, "name": name}}
        case templates.File(uri=uri):
            return {"$file": file(uri)}
        case dict() | Mapping():
            return {key: _written(inner, file) for key, inner in value.items()}
        case list() | tuple():
            return [_written(inner, file) for inner in value]
    return value
