"""Loads a causal language model and its tokenizer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from carryon_core.texts import Text
from carryon_worker import failures
from carryon_worker.failures import BadRequest
from carryon_worker.generators import models
from carryon_worker.generators.bytes_moved import moving_while_bytes_move
from carryon_worker.generators.models import Located
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_WANTED: Final = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
"""Files of a hub's model that are downloaded: weights, index and configs, tokenizers, chat templates."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready.

    Attributes:
        model: In evaluation mode, where it computes.
        tokenizer: Its own.
        defaults: How its makers would have tokens drawn: its generation config.
    """

    model: Any
    tokenizer: Any
    defaults: Any

    @property
    def components(self) -> dict[str, Any]:
        """What the worker fingerprint looks at."""
        return {"lm": self.model, "tokenizer": self.tokenizer}

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end a text."""
        return ends(self.defaults.eos_token_id, self.tokenizer)


def find(wanted: Text, session: Session) -> Located:
    """Have the files of a model on this machine.

    Raises:
        UnitFailure: They can't be had, or are no saved model.
        StoreError: A bucket does not give them.
    """

    def download(name: str, commit: str, folder: Path) -> str:
        return snapshot_download(name, revision=commit, cache_dir=folder, allow_patterns=list(_WANTED))

    located = models.locate(wanted.model, wanted.revision, session, "transformers AutoModelForCausalLM", download)
    if not (located.path / "config.json").is_file():
        located.release()
        raise BadRequest(f"model {wanted.model} is no saved model: it has no config.json")
    return located


def load(wanted: Text, located: Located, target: str, session: Session) -> Loaded:
    """A model, loaded and placed.

    Args:
        wanted: The unit's configuration.
        located: Its files.
        target: Device that computes, cuda or cpu.
        session: Told of movement.

    Raises:
        BadRequest: It is no causal language model, or its files do not hold it whole.
        UnitFailure: They were damaged in the cache.
    """
    try:
        with moving_while_bytes_move(session):
            return _from_pretrained(wanted, str(located.path), target)
    except Exception as error:
        if not failures.shortage(error) and (bad := located.damaged(session.moved)):
            raise models.damaged(wanted.model, bad) from error
        raise


def _from_pretrained(wanted: Text, source: str, target: str) -> Loaded:
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **given)
        if why := refusal(config):
            raise BadRequest(f"model {wanted.model} {why}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **given)
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            dtype=getattr(torch, wanted.dtype),
            # Nothing is ever unpickled.
            use_safetensors=True,
            output_loading_info=True,
            **given,
        )
        model, told = loaded
    except (OSError, ValueError, AttributeError, TypeError, ImportError, KeyError, SafetensorError) as error:
        if failures.shortage(error):
            raise
        raise BadRequest(f"model {wanted.model} can't be loaded as a causal language model: {error}") from error
    if missing := sorted(told["missing_keys"]):
        raise BadRequest(
            f"model {wanted.model} can't be loaded as a causal language model: its files lack {len(missing)} of its"
            f" weights, {missing[0]} among them"
        )
    defaults = model.generation_config
    return Loaded(model.eval().to(target), tokenizer, defaults)


def refusal(config: Any) -> str:
    """Why a model of this config writes no text; "" if it does."""
    kind = config.model_type
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"is no causal language model that transformers {transformers.__version__} knows: it is of type {kind}"
    saved = [str(name) for name in getattr(config, "architectures", None) or ()]
    known = {MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]}
    if saved and not any(name in known or name.endswith(("CausalLM", "LMHeadModel")) for name in saved):
        return f"is no causal language model: it was saved as {', '.join(saved)}"
    return ""


def context(config: Any) -> int | None:
    """Tokens that a model reads, the prompt and its own; None where it has no bound."""
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def ends(named: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a text.

    Args:
        named: By the generation config: one, several or none.
        tokenizer: Asked where that names none.
    """
    if named is None:
        named = tokenizer.eos_token_id
    if named is None:
        return ()
    return tuple(sorted({int(each) for each in (named if isinstance(named, list | tuple) else [named])}))
