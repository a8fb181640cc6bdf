"""Any diffusers pipeline as a generator of pictures, clips and sound.

A unit is a function of its configuration, seed and inputs: everything random is seeded right before the call, after
the loading, which draws random numbers too. The same unit on the same machine is the same file, bit by bit, however
often it was interrupted: the denoiser's calls are kept in a journal, and a later attempt is answered from it.
"""

from __future__ import annotations

import gc
import logging
import random
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import diffusers
import numpy as np
import torch
import transformers

from carryon_core.done import UsedModel
from carryon_core.pipelines import Diffusers
from carryon_worker import failures
from carryon_worker.failures import BadRequest, OutOfMemory, UnitFailure
from carryon_worker.generators import (
    Generator,
    InputFile,
    Made,
    arguments,
    compiling,
    configuration,
    determinism,
    extending,
    loading,
    media,
    placement,
    relief,
    results,
    schedulers,
    sections,
    shortage,
)
from carryon_worker.generators.bytes_moved import moving_while_bytes_move
from carryon_worker.generators.extending import Extension
from carryon_worker.generators.history import History
from carryon_worker.generators.loading import Sources
from carryon_worker.journal import compaction, interception, surroundings
from carryon_worker.journal.diverged import Diverged
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.journal.interception import Interception, NotInterceptable
from carryon_worker.journal.recorder import Recorder
from carryon_worker.session import Session

_log = logging.getLogger(__name__)
_LIBRARIES: Final = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "av")


@dataclass
class _Request:
    """One unit's call of its pipeline.

    Attributes:
        wanted: The unit's configuration.
        params: Arguments of the call that are not the worker's own.
        takes: What the pipeline accepts.
        extension: The clip that it makes longer, if any.
        history: What is kept of the clip that was made.
    """

    wanted: Diffusers
    params: Mapping[str, Any]
    takes: Mapping[str, Any]
    session: Session
    extension: Extension | None
    history: History | None = None


class DiffusersGenerator(Generator):
    """Keeps one pipeline loaded and calls it once a unit."""

    def __init__(self) -> None:
        determinism.configure(diffusers, transformers)
        self._loaded: str | None = None
        self._pipeline: Any = None
        self._sources: Sources | None = None
        self._interception: Interception | None = None
        self._session: Session | None = None
        self._target = "cuda" if torch.cuda.is_available() else "cpu"
        self._overrides: Mapping[str, Any] = {}
        self.device = torch.cuda.get_device_name() if self._target == "cuda" else "cpu"

    def present(self, file: InputFile) -> Any:
        """Pictures and frames in memory, paths of anything else."""
        if file.content_type.startswith("image/"):
            return media.read_image(file.path)
        if file.content_type.startswith("video/"):
            return media.read_frames(file.path)
        return str(file.path)

    def load(self, config: Mapping[str, Any], session: Session) -> None:
        """Load the pipeline, unless it is the one in memory."""
        wanted = configuration.parse(Diffusers, "diffusers", config)
        self._session = session
        key = loading.shape(wanted)
        if key == self._loaded:
            return
        memory = placement.read(session.knobs)
        # The old one first: two seldom fit.
        self._forget()
        self._sources = loading.find(wanted, session)
        with self._explaining_shortage(placement.asked(memory), wanted.dtype):
            pipeline = loading.load(wanted, self._sources, session)
            with moving_while_bytes_move(session):
                self._overrides = placement.place(pipeline, self._target, memory, wanted.dtype)
        self._pipeline = pipeline
        self._pipeline.set_progress_bar_config(disable=True)
        self._report_movement()
        self._loaded = key
        _log.info("loaded %s on %s", type(self._pipeline).__name__, self.device)

    def generate(self, config: Mapping[str, Any], session: Session) -> Made:
        """Call the pipeline and write what it made."""
        wanted = configuration.parse(Diffusers, "diffusers", config)
        extension = None
        if wanted.extend is not None:
            extension = extending.plan(self._pipeline, wanted, wanted.extend, session)
        params = wanted.params if extension is None else extension.params
        name = type(self._pipeline).__name__
        takes = arguments.accepted(type(self._pipeline).__call__)
        arguments.check(name, params, takes)
        request = _Request(wanted, params, takes, session, extension)
        try:
            with self._explaining_shortage(self._overrides, wanted.dtype):
                if session.journal.enabled:
                    result = self._resume(config, request)
                else:
                    result = self._call(request, _generator(session))
        except UnitFailure:
            raise
        except Exception as error:
            if _comes_from_checks(error):
                raise BadRequest(f"{name} refuses its arguments: {error}") from None
            # What a pipeline puts back at the end of a call, this one did not get to: the next unit gets a new one.
            self._loaded = None
            if wanted.scheduler and (why := schedulers.refused_by(error, wanted.scheduler.class_)):
                raise BadRequest(f"{name} {why}") from error
            raise
        return results.write(result, wanted, session, self._pipeline, extension, request.history)

    def _resume(self, config: Mapping[str, Any], request: _Request) -> Any:
        """Call the pipeline; its denoiser is answered from the unit's journal as far as that reaches.

        Raises:
            BadRequest: The denoiser's calls can't be caught.
        """
        wanted, session = request.wanted, request.session
        if self._interception is None:
            try:
                self._interception = interception.attach(self._pipeline.components)
            except NotInterceptable as error:
                raise BadRequest(
                    f"{type(self._pipeline).__name__} can't be resumed: {error}; or set checkpoint.policy to 'Off'"
                ) from None
        which = self._sources.fields if self._sources is not None else None
        if which is None:
            _log.warning("nothing is kept of a unit whose model names no commit: %s", wanted.model)
            return self._call(request, _generator(session))
        chain = session.open_journal({**self._fingerprint(request), **which})
        while True:
            generator = _generator(session)
            bounded = session.journal if session.journal.bounded else None
            watched = compaction.of(self._pipeline, bounded, chain, generator, session.steps)
            components = self._interception.components
            recorder = Recorder(session.journal, chain, components, session.steps, session.moved, watched)
            try:
                with ExitStack() as around:
                    around.enter_context(self._interception.asking(recorder))
                    if watched is not None:
                        around.enter_context(watched.watching())
                    result = self._call(request, generator)
                recorder.finish()
                return result
            except Diverged as diverged:
                session.journal.start_over(str(diverged))
                chain = ()
                # What a pipeline puts back at the end of a call, this one did not get to.
                self._forget()
                self.load(config, session)
                self._interception = interception.attach(self._pipeline.components)

    def _call(self, request: _Request, generator: torch.Generator) -> Any:
        session, takes, extension = request.session, request.takes, request.extension
        output = request.wanted.output
        fps, before = (extension.clip.rate, extension.history) if extension else (output.fps, None)
        follower = sections.follow(self._pipeline, request.params, output, session, fps, before)
        ours: dict[str, Any] = {
            # Arrays show what is not a number; PIL images would be black.
            "output_type": "np",
            "return_dict": True,
            "callback_on_step_end": follower.step_ended,
            "generator": generator,
        }
        given = {**request.params, **{each: value for each, value in ours.items() if each in takes}}
        with ExitStack() as around:
            if extension is not None:
                around.enter_context(extension.applied(self._pipeline))
            around.enter_context(follower.watching())
            _seed(session.seed)
            result = self._pipeline(**given)
        request.history = follower.history()
        return result

    def _fingerprint(self, request: _Request) -> Fields:
        return {
            **surroundings.libraries(),
            **surroundings.machine(self._target),
            **surroundings.pipeline(self._pipeline, {**placement.OFF, **self._overrides, **self._compiler()}),
            **surroundings.call(request.params, request.session.seed, request.session.inputs),
            **(request.extension.fields if request.extension else {}),
        }

    @contextmanager
    def _explaining_shortage(self, in_force: Mapping[str, Any], dtype: str) -> Iterator[None]:
        """Say what would help where memory runs out within the block."""
        try:
            yield
        except UnitFailure:
            raise
        except Exception as error:
            whose = failures.shortage(error)
            if whose is None:
                raise
            situation = shortage.look(whose, error, self._pipeline, self._target, in_force, dtype)
            raise OutOfMemory(relief.sentence(situation)) from error

    def _compiler(self) -> Mapping[str, str]:
        return {"compiler": compiling.compiler(self._target)} if "compile" in self._overrides else {}

    def versions(self) -> Mapping[str, str]:
        """Of the libraries that make the pixels."""
        return {name: version(name) for name in _LIBRARIES}

    def models(self) -> Sequence[UsedModel]:
        """The model and its adapters."""
        return self._sources.used if self._sources is not None else ()

    def overrides(self) -> Mapping[str, Any]:
        """Memory knobs that took effect on the loaded pipeline."""
        return self._overrides

    def _forget(self) -> None:
        """Let go of the pipeline and of the files that it came from."""
        self._loaded = self._pipeline = self._interception = None
        self._overrides = {}
        if self._sources is not None:
            self._sources.release()
            self._sources = None
        gc.collect()
        torch.cuda.empty_cache()

    def _report_movement(self) -> None:
        """Every call of a model is movement; of those that decode, every layer, because they take long.

        Not every pipeline calls back after a step, and none does while it decodes.
        """
        for component in self._pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                decodes = type(component).__module__.startswith("diffusers.models.autoencoders")
                for module in component.modules() if decodes else (component,):
                    module.register_forward_pre_hook(self._moved)

    def _moved(self, module: torch.nn.Module, args: Any) -> None:
        if self._session is not None:
            self._session.moved()


def _generator(session: Session) -> torch.Generator:
    """On the CPU, which draws the same on every machine."""
    return torch.Generator("cpu").manual_seed(session.seed)


def _seed(seed: int) -> None:
    """For whatever draws from elsewhere than the unit's generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _comes_from_checks(error: Exception) -> bool:
    """Whether a pipeline raised it while it looked at its arguments."""
    raised = traceback.extract_tb(error.__traceback__)
    return isinstance(error, TypeError | ValueError) and any(frame.name == "check_inputs" for frame in raised)
