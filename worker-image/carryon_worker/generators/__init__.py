"""What makes units: plug-ins of the entry point group `carryon.generators`, each a small class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Protocol, cast

from carryon_core.done import Outcome, UsedModel
from carryon_worker.failures import BadRequest
from carryon_worker.session import Session

GROUP: Final = "carryon.generators"
HISTORY: Final = "history.safetensors"
"""Artifact beside a clip, by which a later unit goes on from it; a template that means it names it."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a unit is made from, on this machine and verified.

    Attributes:
        name: Name its generator or its owner gave it; may hold slashes.
        content_type: As its done.json says; of a user's own file, as its name says.
    """

    name: str
    path: Path
    content_type: str


@dataclass(frozen=True, slots=True)
class Output:
    """A file that becomes an artifact.

    Attributes:
        name: Name of the artifact, such as clip.mp4; may hold slashes.
        path: Where the file lies until it is published.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Made:
    """How one unit ended.

    Attributes:
        outputs: What was made; only a unit that was generated has any.
        outcome: Skipped and filtered units are done too, without artifacts, and are not tried again.
        reason: Why it was skipped or filtered, for people.
    """

    outputs: Sequence[Output] = ()
    outcome: Outcome = Outcome.GENERATED
    reason: str = ""


class Generator(Protocol):
    """Makes units one after another; one object serves all units of a pod.

    A configuration is what stands under the generator's name in `stages[].generate`, after templating, with
    references to files replaced by what `present` makes of them. In a unit that gathers, a reference to an upstream
    stage is replaced by a list, in order of the items.
    """

    device: str = "cpu"
    """What units are made on, for done.json."""

    def present(self, file: InputFile) -> Any:
        """What stands in a configuration for a file: its path, unless a generator wants more."""
        return str(file.path)

    def load(self, config: Mapping[str, Any], session: Session) -> None:
        """Make ready for a configuration: read a model, for example.

        Called before every unit; returns at once where what is loaded already serves. Its time counts for
        `timeouts.stall`, not for `timeouts.unit`.

        Raises:
            UnitFailure: It can't be made ready.
        """

    def generate(self, config: Mapping[str, Any], session: Session) -> Made:
        """Make one unit.

        Must depend on nothing but the configuration, the session's seed and inputs: a unit begun anew is then the
        same, and a journal of its expensive calls can be replayed.

        Raises:
            UnitFailure: It can't be made.
        """
        ...

    def stop(self, seconds: float) -> None:
        """End what runs outside this process, within some seconds; called from another thread before the end."""

    def versions(self) -> Mapping[str, str]:
        """Library -> version, for done.json."""
        return {}

    def models(self) -> Sequence[UsedModel]:
        """Models and adapters that the unit was made with, for done.json."""
        return ()

    def overrides(self) -> Mapping[str, Any]:
        """Those of the session's memory knobs that took effect, for done.json."""
        return {}


def create(name: str) -> Generator:
    """The generator of a name.

    Raises:
        BadRequest: There is none, or this image lacks what it needs.
    """
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise BadRequest(f"this worker has no generator {name}: it has {', '.join(sorted(known))}")
    try:
        return cast(Generator, known[name].load()())
    except ImportError as error:
        raise BadRequest(f"generator {name} can't be loaded in this image: {error}; choose another image") from error
