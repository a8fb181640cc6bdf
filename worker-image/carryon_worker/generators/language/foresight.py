"""What a language model would say to a prompt, known from its config and tokenizer alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import transformers

from carryon_worker.failures import BadRequest
from carryon_worker.generators import models
from carryon_worker.generators.arguments import Kind, Problem
from carryon_worker.generators.language import loading, prompts

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Model:
    """What is known of a model.

    Attributes:
        context: Tokens that it reads; None where it has no bound.
    """

    tokenizer: Any
    context: int | None


class TextForesight:
    """Looks at each model once, however many units it has."""

    def __init__(self) -> None:
        # Their warnings quote prompts.
        messages: Any = transformers.utils.logging
        messages.set_verbosity_error()
        self._model = lru_cache(maxsize=64)(_look)

    def problems(self, config: Mapping[str, Any]) -> Iterator[Problem]:
        """All that speaks against one configuration, in which files are still references."""
        try:
            given = prompts.parse(_without_files(config))
        except BadRequest as error:
            yield Problem(_field(error.message), Kind.INVALID, error.message)
            return
        seen = self._model(given.model)
        if isinstance(seen, Problem):
            yield seen
            return
        try:
            prompt = prompts.encode(given, seen.tokenizer)
        except BadRequest as error:
            if not _has_files(config):
                yield Problem("prompt", Kind.INVALID, error.message)
            return
        try:
            # Files come on top: what is too long without them is too long.
            prompts.check_length(len(prompt.tokens), given, seen.context)
        except BadRequest as error:
            name = "messages" if given.messages is not None else "prompt"
            yield Problem(name, Kind.INVALID, error.message, extent=len(prompt.tokens))


def _look(model: str) -> _Model | Problem:
    folder = models.here(model)
    if folder is None:
        return Problem("", Kind.UNCHECKED, f"prompts are not looked at: {model} is no folder of this machine")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        return Problem("model", Kind.INVALID, f"model {model} has no readable config.json: {_line(error)}")
    if why := loading.refusal(config):
        return Problem("model", Kind.INVALID, f"model {model} {why}")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - a tokenizer may need anything; without it, no word on texts
        _log.warning("the tokenizer of %s can't be loaded: %s", folder, error)
        return Problem("", Kind.UNCHECKED, f"prompts are not looked at: the tokenizer of {model} can't be loaded here")
    return _Model(tokenizer, loading.context(config))


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _field(message: str) -> str:
    """The field that a refusal of `prompts.parse` names."""
    return message.removeprefix("text.").partition(":")[0]


def _has_files(value: Any) -> bool:
    match value:
        case {"$input": _} | {"$file": _}:
            return True
        case Mapping():
            return any(map(_has_files, value.values()))
        case list():
            return any(map(_has_files, value))
    return False


def _without_files(value: Any) -> Any:
    """A configuration with an empty text for every file."""
    match value:
        case {"$input": _} | {"$file": _} if len(value) == 1:
            return ""
        case Mapping():
            return {key: _without_files(inner) for key, inner in value.items()}
        case list():
            return [_without_files(inner) for inner in value]
    return value
