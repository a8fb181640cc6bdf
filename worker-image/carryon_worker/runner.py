"""Makes the assigned units one after another; everything that is not the making itself happens here."""

from __future__ import annotations

import datetime
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from carryon_core import layout
from carryon_core.done import Artifact, Done, Outcome, Resume, Timings
from carryon_core.messages import AssignedUnit, Assignment
from carryon_store import Denied, Store, StoreError, Unreachable, open_store, units
from carryon_store.deleting import delete_all
from carryon_worker import __version__, content_types, failures, generators, inputs, pins, references
from carryon_worker.checkpoints import Checkpoints
from carryon_worker.ending import Ending
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import Generator, Made
from carryon_worker.journal.unit import Journal
from carryon_worker.ledger import Ledger, Phase
from carryon_worker.previews import Previews
from carryon_worker.session import Session
from carryon_worker.settings import Settings

_log = logging.getLogger(__name__)

_REASON_LONGEST: Final = 1000
"""Characters of the reason in a done.json: it is a sentence."""


class Runner:
    """Runs an assignment in the main thread.

    Args:
        assignment: What to make.
        store: The job's bucket.
        settings: Where scratch files go, and who this pod is.
        ledger: Written here, read by watch and endpoint.
        ending: The way out.
        create: Makes the generator of a name.
    """

    def __init__(
        self,
        assignment: Assignment,
        store: Store,
        settings: Settings,
        ledger: Ledger,
        ending: Ending,
        create: Callable[[str], Generator] = generators.create,
    ) -> None:
        self._assignment = assignment
        self._store = store
        self._settings = settings
        self._ledger = ledger
        self._ending = ending
        self._create = create
        self._generators: dict[str, Generator] = {}
        self._session: Session | None = None

    def run(self) -> NoReturn:
        """Make every unit, whatever becomes of the others, and leave."""
        for unit in self._assignment.units:
            self._ending.give_way()
            self._ledger.begin(unit)
            failure = self._attempt(unit)
            if failure is not None:
                # A program that was stopped looks like one that failed: whoever stopped it tells what happened.
                self._ending.give_way()
            self._ledger.finish(failure)
            if failure and failure.ends_worker:
                break
        self._ending.claim()
        self._ending.leave(*self._ledger.verdict())

    def stop(self, seconds: float) -> None:
        """Stop what runs outside the process and save resume state; called from the watch."""
        for generator in list(self._generators.values()):
            generator.stop(seconds)
        if session := self._session:
            session.flush(self._settings.flush_seconds)

    def _attempt(self, unit: AssignedUnit) -> UnitFailure | None:
        try:
            self._make(unit)
        except UnitFailure as failure:
            return _told(failure)
        except StoreError as error:
            return _told(_bucket_failure(error))
        except Exception as error:  # noqa: BLE001 - one bad unit never stops the others
            _log.exception("the unit failed")
            return failures.of(error)
        return None

    def _make(self, unit: AssignedUnit) -> None:
        assignment = self._assignment
        prefix = layout.unit_prefix(assignment.namespace, assignment.job, assignment.stage, unit.item, unit.fingerprint)
        match units.read_done(self._store, prefix):
            case Done(fingerprint=unit.fingerprint):
                _log.info("done already")
                self._clean_up(prefix)
                return
            case Done() | units.Unreadable():
                # It would refuse ours; better to know before the work than after.
                raise UnitFailure("DoneDamaged", f"{prefix}done.json does not describe this unit: delete it")
        scratch = Path(tempfile.mkdtemp(prefix="unit-", dir=self._settings.scratch))
        for name in ("inputs", "outputs", "scratch", "checkpoints"):
            (scratch / name).mkdir()
        checkpoints = Checkpoints(
            self._store,
            prefix,
            scratch / "checkpoints",
            self._settings.checkpoint_seconds,
            self._ledger.durable,
        )
        journal = Journal(
            self._store,
            prefix,
            scratch / "journal",
            self._settings.pod_uid,
            self._assignment.checkpoint,
            self._ledger.durable,
            self._ledger.wrote,
            self._settings.image,
        )
        previews = Previews(self._store, prefix, scratch / "previews")
        self._ledger.shows(lambda: previews.names)
        self._ledger.account_for(journal.resume)
        try:
            self._generate(unit, prefix, self._open_session(unit, scratch, checkpoints, journal, previews))
            checkpoints.discard()
            journal.discard()
            previews.discard()
        except Exception as error:
            # Whoever ends the process saves by itself, from these folders.
            self._ending.give_way()
            # Another attempt goes on from where this one failed. Not where it would fail again, nor where the bucket
            # has just failed us.
            if not (isinstance(error, StoreError) or (isinstance(error, UnitFailure) and error.permanent)):
                self._ledger.watch(False)
                checkpoints.save()
                journal.flush(self._settings.flush_seconds)
            raise
        finally:
            checkpoints.close()
            journal.close()
            previews.close()
            self._session = None
            shutil.rmtree(scratch, onerror=lambda _, path, why: _log.warning("%s stays: %s", path, why[1]))

    def _clean_up(self, prefix: str) -> None:
        """Delete what whoever made the unit had no time to delete: nobody goes on from it."""
        try:
            for left in (layout.journal_prefix(prefix), prefix + layout.CHECKPOINT, layout.previews_prefix(prefix)):
                delete_all(self._store, left)
        except StoreError as error:
            _log.warning("what was kept of a unit that is done stays in the bucket: %s", error)

    def _generate(self, unit: AssignedUnit, prefix: str, session: Session) -> None:
        name, generator = self._generator(unit)
        files = self._fetch(unit, session)
        config = references.resolve(unit.generate[name], files, generator.present)
        started = time.monotonic()
        generator.load(config, session)
        loaded = time.monotonic()
        self._ledger.enter(Phase.GENERATING)
        made = generator.generate(config, session)
        generated = time.monotonic()
        self._ending.give_way()
        if made.outcome is Outcome.GENERATED and not made.outputs:
            raise UnitFailure("NoArtifacts", f"the generator {name} ended well but left no file")
        timings = Timings(load=round(loaded - started, 3), generate=round(generated - loaded, 3))
        self._publish(unit, prefix, made, generator, timings, session.journal.resume())

    def _fetch(self, unit: AssignedUnit, session: Session) -> inputs.Inputs:
        # A download tells of no movement; the store gives up by itself on a bucket that does not answer.
        session.watch(False)
        digests = references.owned(unit.generate)
        files = inputs.fetch(self._store, self._assignment, unit, digests, session.inputs, session.open_bucket)
        session.moved()
        session.watch(True)
        return files

    def _open_session(
        self, unit: AssignedUnit, scratch: Path, checkpoints: Checkpoints, journal: Journal, previews: Previews
    ) -> Session:
        self._session = Session(
            namespace=self._assignment.namespace,
            job=self._assignment.job,
            stage=self._assignment.stage,
            item=unit.item,
            fingerprint=unit.fingerprint,
            index=unit.index,
            seed=unit.seed,
            knobs=self._assignment.knobs,
            inputs=scratch / "inputs",
            outputs=scratch / "outputs",
            scratch=scratch / "scratch",
            models=self._settings.model_cache,
            models_limit=self._settings.model_cache_bytes,
            open_bucket=self._open_bucket,
            pin=self._pin,
            cancelled=lambda: self._ending.claimed,
            journal=journal,
            previews=previews,
            _ledger=self._ledger,
            _checkpoints=checkpoints,
        )
        return self._session

    def _open_bucket(self, uri: str) -> Store:
        return open_store(self._assignment.store.model_copy(update={"uri": uri}))

    def _pin(self, model: str, revision: str | None, resolve: Callable[[], str]) -> str:
        return pins.pinned(self._store, self._assignment.namespace, self._assignment.job, model, revision, resolve)

    def _generator(self, unit: AssignedUnit) -> tuple[str, Generator]:
        named = [name for name, config in unit.generate.items() if config is not None]
        if len(named) != 1:
            raise BadRequest(f"generate must name exactly one generator, not {', '.join(named) or 'none'}")
        if named[0] not in self._generators:
            self._generators[named[0]] = self._create(named[0])
        return named[0], self._generators[named[0]]

    def _publish(
        self,
        unit: AssignedUnit,
        prefix: str,
        made: Made,
        generator: Generator,
        timings: Timings,
        resume: Resume | None,
    ) -> None:
        self._ledger.enter(Phase.PUBLISHING)
        # An upload tells of no movement; the store gives up by itself on a bucket that does not answer.
        self._ledger.watch(False)
        started = time.monotonic()

        def describe(artifacts: list[Artifact]) -> Done:
            return Done(
                contract=self._assignment.contract,
                fingerprint=unit.fingerprint,
                stage=self._assignment.stage,
                item=unit.item,
                outcome=made.outcome,
                reason=made.reason[:_REASON_LONGEST],
                artifacts=artifacts,
                seed=unit.seed,
                timings=timings.model_copy(update={"publish": round(time.monotonic() - started, 3)}),
                resume=resume,
                attempt=self._assignment.attempt,
                pod=self._settings.pod,
                pod_uid=self._settings.pod_uid,
                finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                device=generator.device,
                overrides=dict(generator.overrides()),
                models=list(generator.models()),
                versions={"carryon": __version__, "python": platform.python_version(), **generator.versions()},
            )

        # What was skipped or filtered has none, whatever lies in its folder.
        outputs = made.outputs if made.outcome is Outcome.GENERATED else ()
        files = [units.File(output.name, output.path, content_types.of(output.name)) for output in outputs]
        published = units.publish(self._store, prefix, files, describe)
        seconds = time.monotonic() - started
        if published.first:
            _log.info("%s: %d artifacts, published in %.1f s", made.outcome, len(files), seconds)
        else:
            _log.info("another worker was first (pod %s): its artifacts stand", published.done.pod or "unknown")


def _told(failure: UnitFailure) -> UnitFailure:
    _log.warning("%s: %s", failure.reason, failure.message)
    return failure


def _bucket_failure(error: StoreError) -> UnitFailure:
    match error:
        case Denied():
            return UnitFailure("BucketDenied", str(error))
        case Unreachable():
            return UnitFailure("BucketUnreachable", str(error))
    return UnitFailure("BucketError", str(error))
