"""What a diffusers pipeline would say to its arguments, known from its class and its tokenizers alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import transformers
from pydantic import ValidationError

from carryon_core.pipelines import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import adapters, arguments, extendable, models, pipelines, schedulers
from carryon_worker.generators.arguments import Kind, Problem

_log = logging.getLogger(__name__)

_PROMPTS: Final = ("prompt", "negative_prompt")
_ENDLESS: Final = 1_000_000
"""Tokens from which a limit is none: tokenizers without one say 10**30."""
_INDEX: Final = "model_index.json"


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """What is known of a pipeline.

    Attributes:
        kind: Its class.
        takes: Name -> parameter of its call.
        tokenizers: Component -> tokenizer.
    """

    name: str
    kind: Any
    takes: Mapping[str, Any]
    tokenizers: Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class _Lost:
    """How many tokens of a text are not read; 0 or less if all are."""

    tokens: int
    read: int


class Foresight:
    """Looks at each pipeline once, however many units it has."""

    def __init__(self) -> None:
        # Their warnings quote prompts.
        messages: Any = transformers.utils.logging
        messages.set_verbosity_error()
        self._pipeline = lru_cache(maxsize=64)(_look)
        self._tokens = lru_cache(maxsize=100_000)(_count)

    def problems(self, config: Mapping[str, Any]) -> Iterator[Problem]:
        """All that speaks against one configuration, in which files are still references."""
        try:
            wanted = Diffusers.model_validate(config)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                where = ".".join(map(str, each["loc"]))
                yield Problem(where, Kind.INVALID, f"diffusers.{where}: {each['msg']}")
            return
        if wanted.scheduler is not None:
            try:
                schedulers.find(wanted.scheduler)
            except BadRequest as error:
                yield Problem("scheduler", Kind.UNKNOWN, error.message)
        seen = self._pipeline(wanted.model, wanted.pipeline)
        if isinstance(seen, Problem):
            yield seen
            return
        if message := adapters.refusal(seen.kind, wanted):
            yield Problem("adapters", Kind.INVALID, message)
        params = _unseen(wanted.params)
        if wanted.extend is not None:
            try:
                extendable.check(seen.name, wanted.params)
                extendable.seconds(wanted.extend.seconds)
            except BadRequest as error:
                yield Problem("extend", Kind.INVALID, error.message)
                return
            params = {**dict.fromkeys(extendable.arguments_of(seen.name), arguments.UNSEEN), **params}
        yield from arguments.problems(seen.name, params, seen.takes)
        for name in _PROMPTS:
            yield from self._too_long(name, params, seen)

    def _too_long(self, base: str, params: Mapping[str, Any], pipeline: _Pipeline) -> Iterator[Problem]:
        """Texts of which no tokenizer reads the end.

        `tokenizer_2` reads `prompt_2` where that is given, else `prompt`, as all pipelines with several do; a text that
        one of them reads whole is not lost, although others cut it off.
        """
        readers: dict[str, list[str]] = {}
        for component in pipeline.tokenizers:
            own = base + component.removeprefix("tokenizer")
            readers.setdefault(own if isinstance(params.get(own), str | list) else base, []).append(component)
        for name, components in readers.items():
            given = params.get(name)
            texts = [text for text in (given if isinstance(given, list) else [given]) if isinstance(text, str)]
            lost = [count for text in texts if (count := self._lost(text, components, params, pipeline)).tokens > 0]
            if lost:
                worst = max(lost)
                message = (
                    f"params.{name} has {worst.tokens + worst.read} tokens, of which {pipeline.name} reads the first"
                    f" {worst.read} with this model: shorten it, or put what matters first"
                )
                yield Problem(name, Kind.TRUNCATED, message, extent=worst.tokens)

    def _lost(self, text: str, components: Sequence[str], params: Mapping[str, Any], pipeline: _Pipeline) -> _Lost:
        """What is left of a text unread by the tokenizer that reads most of it."""
        every = []
        for component in components:
            limit = _limit(component, params, pipeline)
            every.append(_Lost(self._tokens(pipeline.tokenizers[component], text) - limit, limit))
        return min(every)


def _look(model: str, pipeline: str | None) -> _Pipeline | Problem:
    folder = models.here(model)
    index = _index(folder) if folder is not None else {}
    named = pipeline or index.get("_class_name")
    if not isinstance(named, str):
        where = f"{folder} has no readable {_INDEX}" if folder is not None else f"{model} is no folder of this machine"
        message = f"parameters are not looked at: {where}, and `pipeline` names no class"
        return Problem("", Kind.UNCHECKED, message)
    try:
        found = pipelines.find(named)
    except BadRequest as error:
        return Problem("pipeline", Kind.UNKNOWN, error.message)
    takes = arguments.accepted(found.__call__)
    return _Pipeline(named, found, takes, {} if folder is None else _tokenizers(folder, index))


def _index(folder: Path) -> Mapping[str, Any]:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _tokenizers(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for component, entry in index.items():
        match entry:
            case ["transformers", str(name)] if component.startswith("tokenizer"):
                try:
                    kind: Any = getattr(transformers, name)
                    found[component] = kind.from_pretrained(folder / component, local_files_only=True)
                except Exception as error:  # noqa: BLE001 - a tokenizer may need anything; without it, no word on texts
                    _log.warning("%s can't be loaded, so that texts are not counted: %s", folder / component, error)
                    return {}
    return found


def _limit(component: str, params: Mapping[str, Any], pipeline: _Pipeline) -> int:
    """Tokens that are read of a text."""
    limit = int(pipeline.tokenizers[component].model_max_length)
    asked = params.get("max_sequence_length")
    if asked is None and (parameter := pipeline.takes.get("max_sequence_length")):
        asked = parameter.default
    if isinstance(asked, int):
        limit = min(limit, asked)
    return limit if limit < _ENDLESS else 2**63


def _count(tokenizer: Any, text: str) -> int:
    ids: Sequence[int] = tokenizer(text)["input_ids"]
    return len(ids)


def _unseen(value: Any) -> Any:
    """Parameters in which `arguments.UNSEEN` stands for every file."""
    match value:
        case {"$input": _} | {"$file": _} if len(value) == 1:
            return arguments.UNSEEN
        case Mapping():
            return {key: _unseen(inner) for key, inner in value.items()}
        case list():
            return [_unseen(inner) for inner in value]
    return value
