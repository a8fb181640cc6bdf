"""Which commit a job's branch or tag stands for: the first worker that asks writes it down for all others."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.messages import ModelPin
from carryon_store import JSON_TYPE, Conflict, NotFound, Store
from carryon_worker.failures import UnitFailure

COMMIT: Final = re.compile("[0-9a-f]{40}")

_log = logging.getLogger(__name__)


def pinned(store: Store, namespace: str, job: str, model: str, revision: str | None, resolve: Callable[[], str]) -> str:
    """The commit that all units of a job use.

    Args:
        store: The job's bucket.
        namespace: Of the job.
        job: Its name.
        model: Id on a hub.
        revision: Branch or tag; None is the default branch.
        resolve: Asks the hub.

    Raises:
        UnitFailure: What is written down can't be read, or the hub does not say.
        StoreError: The bucket does not answer.
    """
    key = layout.model_pin_key(namespace, job, model, revision or "")
    for _ in range(2):
        try:
            pin = ModelPin.model_validate_json(store.get(key))
        except NotFound:
            commit = resolve()
            if not COMMIT.fullmatch(commit):
                return commit
            pin = ModelPin(model=model, revision=revision, commit=commit)
            try:
                store.put(key, pin.model_dump_json(indent=1).encode(), content_type=JSON_TYPE, only_if_absent=True)
            except Conflict:
                continue
            _log.info("for this job, %s of model %s is commit %s", revision or "the default branch", model, pin.commit)
        except ValidationError:
            raise UnitFailure("PinDamaged", f"{store.uri}/{key} names no commit: delete it") from None
        return pin.commit
    raise UnitFailure("PinDamaged", f"{store.uri}/{key} exists and can't be read: delete it")
