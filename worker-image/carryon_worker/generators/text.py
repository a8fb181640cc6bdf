"""Any causal language model of transformers as a generator: prompts become texts.

A unit is a function of its configuration, seed and inputs. Its tokens are kept in the unit's journal as they come, and
a later attempt goes on after them: the text is the same, letter by letter, however often it was interrupted.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import torch
import transformers

from carryon_core.done import UsedModel
from carryon_worker.generators import Generator, InputFile, Made, Output, determinism
from carryon_worker.generators.language import loading, prompts
from carryon_worker.generators.language.decoding import BLOCK
from carryon_worker.generators.language.drawing import Drawing, drawing
from carryon_worker.generators.language.endings import Endings
from carryon_worker.generators.language.loading import Loaded
from carryon_worker.generators.language.prompts import Given, Prompt
from carryon_worker.generators.language.writing import Writing, Written
from carryon_worker.generators.models import Located
from carryon_worker.journal import surroundings
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.session import Session

_log = logging.getLogger(__name__)
_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "safetensors")


class TextGenerator(Generator):
    """Keeps one model loaded and writes a text with it once a unit."""

    def __init__(self) -> None:
        determinism.configure(transformers)
        self._key: tuple[str, str | None, str] | None = None
        self._loaded: Loaded | None = None
        self._located: Located | None = None
        self._session: Session | None = None
        self._target = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.cuda.get_device_name() if self._target == "cuda" else "cpu"

    def present(self, file: InputFile) -> Any:
        """The text in it."""
        return prompts.content(file)

    def load(self, config: Mapping[str, Any], session: Session) -> None:
        """Load the model, unless it is the one in memory."""
        wanted = prompts.parse(config)
        self._session = session
        key = (wanted.model, wanted.revision, wanted.dtype)
        if key == self._key:
            return
        # The old one first: two seldom fit.
        self._forget()
        self._located = loading.find(wanted, session)
        self._loaded = loading.load(wanted, self._located, self._target, session)
        self._report_movement(self._loaded.model)
        self._key = key
        _log.info("loaded %s on %s", type(self._loaded.model).__name__, self.device)

    def generate(self, config: Mapping[str, Any], session: Session) -> Made:
        """Write the text, and the file that it becomes."""
        given, loaded = prompts.parse(config), self._loaded
        assert loaded is not None
        prompt = prompts.encode(given, loaded.tokenizer)
        prompts.check_length(len(prompt.tokens), given, loading.context(loaded.model.config))
        how = drawing(given, loaded.defaults, loaded.ends)
        endings = Endings(
            tokenizer=loaded.tokenizer,
            ends=frozenset(loaded.ends),
            stop=tuple(given.stop),
            most=given.max_new_tokens,
            prompt=() if prompt.chat else prompt.tokens,
        )
        writing = Writing(loaded.model, prompt.tokens, how, endings, session)
        if session.journal.enabled and (fields := self._fingerprint(loaded, given, prompt, how, session)) is not None:
            written = writing.write(session.open_journal(fields))
        else:
            written = writing.write()
        return _made(written, endings.text(written.tokens), given, prompt, session)

    def _fingerprint(
        self, loaded: Loaded, given: Given, prompt: Prompt, how: Drawing, session: Session
    ) -> Fields | None:
        """Everything that a token may depend on; None where nobody can tell whether another worker loads the same."""
        which = self._located.fields if self._located is not None else None
        if which is None:
            _log.warning("nothing is kept of a unit whose model names no commit: %s", given.model)
            return None
        call = {
            "prompt": list(prompt.tokens),
            "stop": given.stop,
            "maxNewTokens": given.max_new_tokens,
            "minNewTokens": how.least,
            "sample": how.sample,
            "temperature": how.temperature,
            "topP": how.top_p,
            "topK": how.top_k,
            "repetitionPenalty": how.repetition_penalty,
            "ends": list(how.ends),
        }
        parts = surroundings.pipeline(loaded, {})
        return {
            **surroundings.libraries(),
            "tokenizers": version("tokenizers"),
            **surroundings.machine(self._target),
            **{name: value for name, value in parts.items() if name != "pipeline"},
            "lm.implementation": loaded.model.config._attn_implementation,
            "block": BLOCK,
            **which,
            **{name.removeprefix("params."): value for name, value in _call(call, session).items()},
        }

    def versions(self) -> Mapping[str, str]:
        """Of the libraries that make the text."""
        return {name: version(name) for name in _LIBRARIES}

    def models(self) -> Sequence[UsedModel]:
        """The model in memory."""
        return (self._located.used,) if self._located is not None else ()

    def _forget(self) -> None:
        """Let go of the model and of the files that it came from."""
        self._key = self._loaded = None
        if self._located is not None:
            self._located.release()
            self._located = None
        gc.collect()
        torch.cuda.empty_cache()

    def _report_movement(self, model: torch.nn.Module) -> None:
        """Every layer is movement: to read a long prompt takes a while on a slow machine."""
        for module in model.modules():
            if isinstance(module, torch.nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(self._moved)

    def _moved(self, module: torch.nn.Module, args: Any) -> None:
        if self._session is not None:
            self._session.moved()


def _call(values: Mapping[str, Any], session: Session) -> Fields:
    return surroundings.call(values, session.seed, session.inputs)


def _made(written: Written, text: str, given: Given, prompt: Prompt, session: Session) -> Made:
    path = session.outputs / f"{given.output.name}.{given.output.format}"
    if given.output.format == "json":
        content = json.dumps(_described(written, text, given, prompt, session), ensure_ascii=False, indent=1)
    elif given.output.include_prompt:
        content = f"{prompt.shown}\n\n{text}" if prompt.chat else prompt.shown + text
    else:
        content = text
    path.write_text(content if content.endswith("\n") else content + "\n", encoding="utf-8")
    return Made([Output(path.name, path)])


def _described(written: Written, text: str, given: Given, prompt: Prompt, session: Session) -> dict[str, Any]:
    return {
        **({"prompt": prompt.shown} if given.output.include_prompt else {}),
        "text": text,
        "finish": written.finish,
        "tokens": {"prompt": len(prompt.tokens), "text": len(written.tokens)},
        "model": given.model,
        "seed": session.seed,
    }
