"""What a generator is given for one unit: who it is, where its files lie, and whom to tell about movement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carryon_store import Store
from carryon_worker.checkpoints import Checkpoints
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.journal.unit import Journal
from carryon_worker.ledger import Ledger
from carryon_worker.previews import Previews


@dataclass(frozen=True, slots=True)
class Session:
    """One unit being made.

    Attributes:
        namespace: Of the job.
        job: The job's name.
        stage: The stage's name.
        item: Item id.
        fingerprint: Of the unit: another one after every edit that changes what it is made from.
        index: Index of the item among the job's.
        seed: The unit's own seed, 0 <= seed < 2**63.
        knobs: Memory knobs of the stage or its round, for generators that know them: offload, tiling and others.
        inputs: Folder that holds the artifacts of upstream units, one folder a stage, and inputs.json.
        outputs: Empty folder for what the generator makes.
        scratch: Empty folder for anything else; inputs and outputs too are wiped when the unit ended.
        models: Folder for models that are downloaded; outlives the unit and may be shared.
        models_limit: Bytes that models may have there; None: as many as fit.
        open_bucket: Opens the bucket of a uri, at the job's endpoint and with its credentials.
        pin: The commit that a revision of a hub's model stands for in all units of the job; asks the hub by the
            function it is given if no worker of the job has done so yet.
        cancelled: Whether the process is about to end, so that work begun now is in vain.
        journal: Keeps a denoiser's calls, where the job wants them kept.
        previews: Show what is finished of a unit before it is done.
    """

    namespace: str
    job: str
    stage: str
    item: str
    fingerprint: str
    index: int
    seed: int
    knobs: Mapping[str, Any]
    inputs: Path
    outputs: Path
    scratch: Path
    models: Path
    models_limit: int | None
    open_bucket: Callable[[str], Store]
    pin: Callable[[str, str | None, Callable[[], str]], str]
    cancelled: Callable[[], bool]
    journal: Journal
    previews: Previews
    _ledger: Ledger
    _checkpoints: Checkpoints

    def step(self, step: int, steps: int | None = None) -> None:
        """Step `step` of `steps` is done: shown as progress, and movement."""
        self._ledger.step(step, steps)

    def steps(self) -> int:
        """Steps that are done."""
        current = self._ledger.current
        return (current.step or 0) if current else 0

    def section(self, finished: int, sections: int | None = None) -> None:
        """Of a unit that is made section by section, `finished` of `sections` are."""
        self._ledger.section(finished, sections)

    def moved(self) -> None:
        """Something moved that is no step: bytes, a frame decoded, a remote poll that counted on."""
        self._ledger.moved()

    def watch(self, watched: bool) -> None:
        """Whether lack of movement ends the worker; on unless a generator can't tell of movement."""
        self._ledger.watch(watched)

    def checkpoint(self) -> Path:
        """A folder that outlives the attempt: what a resumed one needs is to be kept here, at most 1 GiB.

        It holds what was last saved of it. From now on it is saved whenever it has changed, when the worker is asked
        to stop, and when the attempt fails; nothing is left of it once the unit is done.

        Raises:
            StoreError: The bucket does not say what an earlier attempt left.
        """
        # A download tells of no movement; the store gives up by itself on a bucket that does not answer.
        self.watch(False)
        folder = self._checkpoints.open()
        self.moved()
        self.watch(True)
        return folder

    def keep(self) -> None:
        """Make durable what lies in the checkpoint folder, before going on.

        Raises:
            StoreError: The bucket does not take it.
        """
        self._checkpoints.keep()

    def open_journal(self, fields: Fields) -> Chain:
        """What earlier attempts left that holds for a worker with this fingerprint; see `journal.unit.Journal.open`.

        Raises:
            Unreachable: The bucket does not answer.
        """
        # A download tells of no movement; the store gives up by itself on a bucket that does not answer.
        self.watch(False)
        chain = self.journal.open(fields)
        self.moved()
        self.watch(True)
        return chain

    def flush(self, seconds: float) -> None:
        """Save what a resumed attempt needs. Called from another thread right before the process ends."""
        self.journal.flush(seconds)
        self._checkpoints.flush(seconds)
