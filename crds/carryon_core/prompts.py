"""Prompts of the `text` generator: texts in which files may stand, as what is in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from carryon_core import templates

_PROMPTS: Final = ("prompt", "system")


def render(config: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a `text` generator with its templates replaced.

    A prompt in which no file stands is a text; else it is a list of texts and files in their order, which the worker
    joins. A list of files among them stands for all of these.

    Args:
        config: What stands under `text`.
        scope: Names a template may begin with.

    Raises:
        TemplateError: A template can't be rendered, or a file stands where none can.
    """
    made: dict[str, Any] = {
        name: templates.render(value, scope) for name, value in config.items() if name not in (*_PROMPTS, "messages")
    }
    if not isinstance(made["model"], str):
        raise templates.TemplateError("model must be text: the uri of a folder, or an id on a model hub")
    if "stop" in made:
        made["stop"] = [templates.as_text(each) for each in made["stop"]]
    for name in _PROMPTS:
        if name in config:
            made[name] = _prompt(config[name], scope)
    if "messages" in config:
        made["messages"] = [{**each, "content": _prompt(each["content"], scope)} for each in config["messages"]]
    return made


def _prompt(text: str, scope: Mapping[str, Any]) -> Any:
    parts: list[Any] = [""]
    for value in templates.render_parts(text, scope):
        made = _part(templates.with_files(value))
        if isinstance(made, str) and isinstance(parts[-1], str):
            parts[-1] += made
        else:
            parts.append(made)
    templates.check_length(sum(len(part) for part in parts if isinstance(part, str)))
    return parts[0] if len(parts) == 1 else [part for part in parts if part != ""]


def _part(value: Any) -> Any:
    match value:
        case templates.FileRef() | templates.File():
            return value
        case list() if any(isinstance(each, templates.File | templates.FileRef) for each in value):
            return [_part(each) for each in value]
    return templates.as_text(value)
