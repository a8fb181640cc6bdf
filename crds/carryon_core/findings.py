"""What may not be meant in a job that is right: parameters whose templates leave nothing for some items. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from carryon_core import templates
from carryon_core.resolved import ResolvedJob, ResolvedStage

_SHOWN: Final = 5
_Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One parameter of one stage that comes out blank.

    Attributes:
        parameter: As a person would name it: prompt, args[2], env NAME.
        items: Ids of the first five units that it is so for; none where the stage gathers.
        count: Of all of them.
        total: Units of the stage.
    """

    stage: str
    parameter: str
    items: tuple[str, ...]
    count: int
    total: int

    @property
    def message(self) -> str:
        """The finding in a sentence."""
        start = f'stage "{self.stage}": {self.parameter} is blank'
        if not self.items:
            return start
        more = f" and {self.count - len(self.items)} more" if self.count > len(self.items) else ""
        return f"{start} for {self.count} of {self.total} items: {', '.join(self.items)}{more}"


def findings(resolved: ResolvedJob) -> list[Finding]:
    """All that is found in the units of a job, each rendered once; values written as blank in the job are meant so."""
    return [each for stage in resolved.stages for each in _of_stage(resolved, stage)]


def _of_stage(resolved: ResolvedJob, stage: ResolvedStage) -> Iterator[Finding]:
    assert stage.recipe is not None
    paths = list(_templated(stage.recipe.template, ()))
    blank: dict[_Path, list[int]] = {}
    for unit in stage.units if paths else ():
        generate = resolved.rendered(unit).generate
        for path in paths:
            value = _at(generate, path)
            if isinstance(value, str) and not value.strip():
                blank.setdefault(path, []).append(unit.item)
    for path, units in blank.items():
        shown = () if stage.gathers else tuple(resolved.ids[item] for item in units[:_SHOWN])
        name = _named(stage.recipe.template, path)
        yield Finding(stage.name, name, shown, len(units), len(stage.units))


def _templated(value: Any, path: _Path) -> Iterator[_Path]:
    """Where texts with expressions stand in a configuration."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _templated(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _templated(inner, (*path, index))
    elif templates.is_template(value):
        yield path


def _at(value: Any, path: _Path) -> Any:
    """What stands at a path; None below what has become a file."""
    for step in path:
        if isinstance(value, templates.File):
            return None
        value = value[step]
    return value


def _named(template: Mapping[str, Any], path: _Path) -> str:
    match path:
        case ("command", "env", int() as index, _):
            return f"env {template['command']['env'][index]['name']}"
        case (_, "params", *inner):
            pass
        case (_, *inner):
            pass
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in inner)
    return name.removeprefix(".")
