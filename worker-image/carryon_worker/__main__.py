"""Start of a worker: signals first, then the assignment, then its units.

`python -m carryon_worker check` makes nothing: see `carryon_worker.check`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from carryon_worker import signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from carryon_worker.generators import Generator
    from carryon_worker.ledger import Ledger


_log = logging.getLogger(__name__)


def main() -> NoReturn:
    """Do what the command line asks for; never returns."""
    if sys.argv[1:] == ["check"]:
        from carryon_worker import check

        sys.exit(check.main(sys.stdin, sys.stdout))
    if sys.argv[1:]:
        sys.exit("a worker takes no arguments, or `check`")
    work()


def work(create: Callable[[str], Generator] | None = None) -> NoReturn:
    """Run the assignment of this process's environment; never returns.

    Args:
        create: Makes the generator of a name; None: those that are installed.
    """
    # Before the imports that take time: from here on a request to stop waits to be read instead of killing.
    arriving = signals.catch()
    from carryon_core.compatibility import Incompatible
    from carryon_core.messages import ExitCode, Termination
    from carryon_store import StoreError, open_store
    from carryon_worker import assignment, endpoint, generators
    from carryon_worker.assignment import AssignmentError
    from carryon_worker.ending import Ending
    from carryon_worker.ledger import CRASHED, Ledger
    from carryon_worker.runner import Runner
    from carryon_worker.settings import Settings
    from carryon_worker.watch import Watch

    settings = Settings.read(os.environ)
    ending = Ending(settings.termination_log)
    _log_to_stderr()
    try:
        assigned = assignment.read(settings.assignment)
        ledger = Ledger(assigned)
        _name_units(ledger)
        store = open_store(assigned.store)
        runner = Runner(assigned, store, settings, ledger, ending, create or generators.create)
        Watch(arriving, ledger, ending, runner.stop, settings.stop_seconds).start()
        endpoint.serve(ledger, settings.bind, settings.port)
        runner.run()
    except Incompatible as error:
        ending.claim()
        ending.leave(ExitCode.BAD_REQUEST, Termination(reason=error.reason, message=str(error)))
    except (AssignmentError, StoreError) as error:
        ending.claim()
        ending.leave(CRASHED, Termination(reason="AssignmentUnreadable", message=str(error)))
    except BaseException as error:  # noqa: BLE001 - whatever happens, the way out is the same
        _log.exception("the worker failed")
        ending.claim()
        ending.leave(CRASHED, Termination(reason="Crashed", message=f"{type(error).__name__}: {error}"))


def _log_to_stderr() -> None:
    """Plain lines with time and unit; never prompts, which may be nobody's business."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)sZ %(unit)s%(message)s", "%Y-%m-%dT%H:%M:%S", defaults={"unit": ""})
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("carryon_worker").setLevel(logging.INFO)


def _name_units(ledger: Ledger) -> None:
    def name(record: logging.LogRecord) -> bool:
        if current := ledger.current:
            record.unit = f"{ledger.assignment.stage}/{current.unit.item}: "
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(name)


if __name__ == "__main__":
    main()
