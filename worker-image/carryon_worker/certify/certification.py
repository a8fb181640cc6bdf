"""From a model to verdicts: looks at it, chooses what to call it with, and tries each scheduler."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from carryon_worker.certify import calling, drawing
from carryon_worker.certify.calling import Argument
from carryon_worker.certify.forge import Forge, ForgeFailed
from carryon_worker.certify.runs import Workplace
from carryon_worker.certify.trial import Trial
from carryon_worker.certify.verdicts import SchedulerChoice, Verdict

CUTS: Final = 3


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a model without its weights; see `looking.look`."""

    pipeline: str
    scheduler: str
    imports: Sequence[tuple[str, str]]
    takes: Mapping[str, Argument]
    side: int


class _Refused(Exception):
    """What was asked for can't be tried; the sentence says why."""


def certify(
    model: str,
    *,
    pipeline: str | None = None,
    schedulers: Sequence[SchedulerChoice] = (),
    params: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    cuts: int = CUTS,
    memory: Mapping[str, Any] | None = None,
    forge: Forge | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Sequence[Verdict]:
    """Certify a pipeline with each of some schedulers.

    Args:
        model: Folder, file:// or s3:// uri of a saved pipeline, or an id on a hub.
        pipeline: Its class, where it is not the one the model names.
        schedulers: To be put in the place of its own, one after the other; none: its own.
        params: Arguments of its call, as JSON with paths and PIL images in it; what is needed besides is chosen by
            name, pictures and clips are drawn.
        dtype: Of the weights: float32, float16 or bfloat16.
        cuts: How often a unit is interrupted, each time at another call; at least 1.
        memory: Knobs of `generate.diffusers.memory`, such as {"offload": "model"}.
        forge: Where workers come from, for many certifications in a row; None: from one that ends with this.
        tell: Told what is done now, in a few words.

    Returns:
        One verdict for each scheduler. Whatever is wrong with model or arguments is in `Verdict.problem`; nothing is
        raised for what a user can do.
    """
    choices: Sequence[SchedulerChoice | None] = schedulers or (None,)
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="carryon-certify-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        forge = forge or stack.enter_context(Forge(root))
        name = pipeline or ""
        tell(f"{model}: looking at it")
        try:
            seen = _look(forge, model, pipeline, root)
            name = seen.pipeline
            written = _written(seen, params or {}, root)
        except (_Refused, ForgeFailed) as why:
            return [Verdict(name, choice.title if choice else "", problem=str(why)) for choice in choices]
        made = []
        for number, choice in enumerate(choices):
            folder = root / str(number)
            folder.mkdir()
            config = {"model": model, "pipeline": pipeline, "dtype": dtype, "params": written}
            if choice is not None:
                config["scheduler"] = {"class": choice.name, "params": dict(choice.params)}
            place = Workplace(folder, forge, {"diffusers": config}, seen.imports, root / "models", memory or {})
            made.append(_try(place, Verdict(name, choice.title if choice else seen.scheduler), cuts, tell))
            shutil.rmtree(folder)
        return made


def _try(place: Workplace, verdict: Verdict, cuts: int, tell: Callable[[str], None]) -> Verdict:
    title = f"{verdict.pipeline}, {verdict.scheduler}" if verdict.scheduler else verdict.pipeline
    trial = Trial(place, verdict, lambda what: tell(f"{title}: {what}"))
    try:
        return trial.run(cuts)
    except ForgeFailed as why:
        return trial.failed(str(why))


def _look(forge: Forge, model: str, pipeline: str | None, folder: Path) -> _Seen:
    seen = forge.look(model, pipeline, folder)
    if problem := seen.get("problem"):
        raise _Refused(problem)
    return _Seen(
        pipeline=seen["pipeline"],
        scheduler=seen["scheduler"],
        imports=[(library, name) for library, name in seen["imports"]],
        takes={name: Argument(**described) for name, described in seen["takes"].items()},
        side=seen["side"],
    )


def _written(seen: _Seen, params: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The arguments as a unit's configuration has them."""
    chosen = calling.choose(seen.takes, params, seen.side)
    if chosen.missing:
        raise _Refused(calling.lacking(seen.pipeline, chosen.missing, seen.takes))
    folder = root / "drawn"
    folder.mkdir()
    try:
        return drawing.as_files(chosen.params, folder)
    except OSError as error:
        raise _Refused(f"{error.filename} can't be read: {error.strerror}") from None
