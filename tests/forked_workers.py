"""Workers as processes of their own that skip the imports: forked from a process that has done nothing but import.

Each loads its model, opens the bucket and installs its signal handlers by itself; a fresh interpreter would spend six
seconds on imports first. The slow suite starts whole interpreters.

Run as a script it is that process: requests come in as lines of JSON on stdin, exit statuses go out on stdout.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
"""Tiny models gain nothing from more, and lose much where the machine is busy."""
LANGUAGE_MODELS: Final = (
    "GPT2LMHeadModel",
    "LlamaForCausalLM",
    "MambaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
)
_HOLDS_ITS_UNET: Final = "UNetControlNetXSModel"


@dataclass(frozen=True)
class Fate:
    """What happens to a worker.

    Attributes:
        kill: Signal that it gets while call `at` of a denoiser or language model, counted from 0 among those it
            computes, is at work.
        fails: That call raises once, instead.
        short_of: Memory that runs out in that call, instead: GPU or host.
        pause: Seconds that each call takes longer.
        versions: Library -> version that it takes for installed.
    """

    kill: int = 0
    at: int = 0
    fails: bool = False
    short_of: str = ""
    pause: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)


class Forge:
    """The process that workers are forked from.

    Args:
        log: Where its own errors go.
    """

    def __init__(self, log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                env=os.environ | ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def run(self, environment: dict[str, str], log: Path, calls: Path, fate: Fate) -> int:
        """Run a worker to its end: exit code, or minus the signal that killed it.

        Args:
            environment: Its variables.
            log: Where its stderr goes.
            calls: Where it writes a line for each call of a denoiser or language model that it computes; in `.killed`
                stands when its signal came.
            fate: What happens to it.
        """
        return self._ask({"worker": [environment, str(log), str(calls), asdict(fate)]})

    def worker(self) -> int:
        """Process id of the worker that runs now."""
        pid = self._process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def build(self, folder: Path, *models: str) -> None:
        """Build models of the zoo, each in a folder of its name."""
        assert self._ask({"build": [str(folder), *models]}) == 0

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _forge() -> None:
    import transformers
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import tiny_language_models
    import zoo
    from carryon_worker import runner  # noqa: F401
    from carryon_worker.generators import diffusers as generator  # noqa: F401
    from carryon_worker.generators import text  # noqa: F401

    for name in LANGUAGE_MODELS:
        # Named, its module is loaded.
        getattr(transformers, name)
    # A table that transformers makes once a process, out of a thousand regular expressions.
    get_checkpoint_conversion_mapping("")
    # A child that collects garbage looks at what is its own; else it would copy all of this.
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            try:
                if "build" in request:
                    folder, *models = request["build"]
                    for model in models:
                        builder: Any = tiny_language_models if model in tiny_language_models.MODELS else zoo
                        builder.build(model, Path(folder) / model)
                    os._exit(0)
                environment, log, calls, fate = request["worker"]
                _become_worker(environment, log, calls, Fate(**fate))
            except BaseException:  # noqa: BLE001 - a child must not go on as its parent
                traceback.print_exc()
                os._exit(99)
        _, status = os.waitpid(child, 0)
        if "build" in request and not status:
            folder, *models = request["build"]
            for model in models:
                _import(Path(folder) / model)
            gc.freeze()
        print(os.waitstatus_to_exitcode(status), flush=True)


def _import(model: Path) -> None:
    """Load the modules that a model needs, so that those who load the model find them loaded."""
    described = model / "model_index.json"
    if not described.exists():
        # A language model, of which there are few.
        return
    index = json.loads(described.read_text())
    for library, name in (
        ["diffusers", index["_class_name"]],
        *(each for each in index.values() if _names_class(each)),
    ):
        # Named, its module is loaded.
        getattr(import_module(library), name)


def _names_class(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] in ("diffusers", "transformers")


def _become_worker(environment: dict[str, str], log: str, calls: str, fate: Fate) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["carryon-worker"]
    from carryon_worker import __main__ as worker

    prepare(Path(calls), fate)
    worker.main()


def prepare(calls: Path, fate: Fate) -> None:
    """Let this process, which is to be a worker, have a fate."""
    from diffusers import ModelMixin
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    from carryon_worker.journal import surroundings

    installed = surroundings.version
    surroundings.version = lambda name: fate.versions.get(name) or installed(name)  # type: ignore[assignment]
    made, within, failed = 0, 0, False

    def about_to_compute(module: Any, args: Any) -> None:
        nonlocal made, within, failed
        if isinstance(module, ModelMixin):
            within += 1
            # A model within another is part of it.
            if within > 1 or not _denoises(type(module)):
                return
        elif type(module).__name__ not in LANGUAGE_MODELS:
            return
        if fate.fails and made == fate.at and not failed:
            failed = True
            raise RuntimeError("a kernel that was not meant to")
        if fate.short_of and made == fate.at:
            _run_out_of_memory(fate.short_of)
        if fate.kill and made == fate.at:
            calls.with_suffix(".killed").write_text(str(time.time()))
            os.kill(os.getpid(), fate.kill)
            while fate.kill == signal.SIGTERM:
                time.sleep(60)
        time.sleep(fate.pause)
        made += 1
        with calls.open("a") as lines:
            lines.write(f"{type(module).__name__}\n")

    def computed(module: Any, args: Any, output: Any) -> None:
        nonlocal within
        within -= isinstance(module, ModelMixin)

    register_module_forward_pre_hook(about_to_compute)
    register_module_forward_hook(computed, always_call=True)


def _denoises(kind: type) -> bool:
    """Whether it is a denoiser, among the models of diffusers."""
    beside = "ControlNet" in kind.__name__ and kind.__name__ != _HOLDS_ITS_UNET
    return not beside and not kind.__module__.startswith("diffusers.models.autoencoders")


def _run_out_of_memory(whose: str) -> None:
    import torch

    if whose == "GPU":
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.55 GiB of which 1.10 GiB"
            " is free."
        )
    # More than any machine has.
    torch.empty(2**50, dtype=torch.uint8)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # A whole interpreter for one worker.
        prepare(Path(sys.argv[1]), Fate(**json.loads(sys.argv[2])))
        sys.argv = ["carryon-worker"]
        from carryon_worker.__main__ import main

        main()
    _forge()
