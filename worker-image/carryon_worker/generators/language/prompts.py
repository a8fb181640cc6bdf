"""From a configuration to a prompt's tokens; nothing is computed yet. Pure but for the model's own chat template."""

from __future__ import annotations

import datetime
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from carryon_core.texts import Message, Text
from carryon_worker.failures import BadRequest
from carryon_worker.generators import InputFile, configuration

FILE_LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a file in a prompt: no model reads more."""
_BETWEEN: Final = "\n\n"
"""What stands between the files of a list."""
_ASKS_FOR_TODAY: Final = re.compile(r"""\bstrftime_now\(\s*(['"])(.*?)\1\s*\)""")
_SEEN_BY_EYES: Final = ("image/", "video/", "audio/")


class _Turn(Message):
    content: str


class Given(Text):
    """A configuration in which files have become what is in them: no bound holds for these."""

    prompt: str | None = None
    system: str | None = None
    messages: list[_Turn] | None = Field(default=None)  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        tokens: At least one.
        shown: What a person asked last, for whoever reads the text.
        chat: It went through the chat template: what follows is an answer.
    """

    tokens: tuple[int, ...]
    shown: str
    chat: bool


def content(file: InputFile) -> str:
    """What stands in a prompt for a file: the text in it, without line breaks at its end.

    Raises:
        BadRequest: It is no text.
    """
    if file.content_type.startswith(_SEEN_BY_EYES):
        raise BadRequest(f"{file.name} is {file.content_type}: in a prompt only texts can stand")
    size = file.path.stat().st_size
    if size > FILE_LARGEST:
        raise BadRequest(f"{file.name} has {size} bytes: in a prompt a file has at most {FILE_LARGEST}")
    try:
        text = file.path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest(f"{file.name} is no text in UTF-8: in a prompt only texts can stand") from None
    return text.rstrip("\r\n")


def parse(config: Mapping[str, Any]) -> Given:
    """A configuration whose prompts may be lists of texts, joined to one each.

    Raises:
        BadRequest: It is no configuration of a text.
    """
    made = {
        **config,
        **{name: joined(config[name]) for name in ("prompt", "system") if config.get(name) is not None},
    }
    if config.get("messages") is not None:
        made["messages"] = [{**each, "content": joined(each.get("content"))} for each in config["messages"]]
    return configuration.parse(Given, "text", made)


def joined(parts: Any) -> Any:
    """The text of a prompt's parts; those of a list in it are the files of several units."""
    if not isinstance(parts, list):
        return parts
    return "".join(_BETWEEN.join(map(str, part)) if isinstance(part, list) else str(part) for part in parts)


def encode(given: Given, tokenizer: Any) -> Prompt:
    """The tokens of a prompt.

    Raises:
        BadRequest: The model has no chat template where one is needed, or it refuses the prompt; or nothing is asked.
    """
    turns = _turns(given)
    if given.prompt is not None and not _chats(given, tokenizer):
        tokens = tokenizer(given.prompt)["input_ids"]
        shown = given.prompt
    else:
        tokens = tokenizer(_through_template(given, turns, tokenizer), add_special_tokens=False)["input_ids"]
        shown = turns[-1]["content"]
    if not tokens:
        raise BadRequest("the prompt is empty: give the model something to begin with")
    return Prompt(tuple(tokens), shown, chat=given.prompt is None or _chats(given, tokenizer))


def check_length(tokens: int, given: Text, context: int | None) -> None:
    """Make sure that prompt and text fit into what the model reads.

    Args:
        tokens: Of the prompt.
        given: The configuration.
        context: Tokens that the model reads; None where it has no bound.

    Raises:
        BadRequest: They don't; says by how much.
    """
    if context is None or tokens + given.max_new_tokens <= context:
        return
    room = context - tokens
    advice = (
        f"shorten the prompt, or set maxNewTokens to {room} at most"
        if room >= max(1, given.min_new_tokens)
        else "shorten the prompt, or take a model that reads more"
    )
    raise BadRequest(
        f"the prompt has {tokens} tokens and maxNewTokens is {given.max_new_tokens}, but the model reads {context}:"
        f" {advice}"
    )


def _turns(given: Given) -> list[dict[str, str]]:
    if given.messages is not None:
        return [{"role": each.role, "content": each.content} for each in given.messages]
    told = [{"role": "system", "content": given.system}] if given.system is not None else []
    return [*told, {"role": "user", "content": given.prompt or ""}]


def _chats(given: Given, tokenizer: Any) -> bool:
    """Whether the prompt goes through the chat template."""
    if given.prompt is None or given.system is not None:
        return True
    return bool(tokenizer.chat_template) if given.chat is None else given.chat


def _through_template(given: Given, turns: Sequence[Mapping[str, str]], tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        what = "messages" if given.messages is not None else "system" if given.system is not None else "chat: true"
        raise BadRequest(
            f"the model has no chat template, which {what} needs: take one that was trained to answer, or give it a"
            " prompt alone"
        )
    reserved = inspect.signature(tokenizer.apply_chat_template).parameters.keys() - {"kwargs"}
    if taken := sorted(given.chat_template_args.keys() & {*reserved, "messages"}):
        raise BadRequest(f"chatTemplateArgs.{taken[0]} is set by the worker: leave it out")
    try:
        made = tokenizer.apply_chat_template(
            turns,
            chat_template=_on_a_day(tokenizer.get_chat_template(), given.date),
            tokenize=False,
            add_generation_prompt=True,
            **given.chat_template_args,
        )
    except Exception as error:
        # A template may raise anything at what it is given.
        raise BadRequest(f"the model's chat template refuses the conversation: {error}") from error
    return str(made)


def _on_a_day(template: str, date: str) -> str:
    """A chat template that is told a day wherever it asks for today's: a unit must not depend on when it is made."""
    day = datetime.datetime.fromisoformat(date)
    return _ASKS_FOR_TODAY.sub(lambda asked: json.dumps(day.strftime(asked[2]), ensure_ascii=False), template)
