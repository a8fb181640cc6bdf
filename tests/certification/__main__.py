"""Certify the zoo, and write down what came out.

    python -m certification [--page FILE] [NAME ...]

Ends with code 1 where anything resumed to a wrong answer, or where less is certified than is promised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import diffusers
import transformers

import zoo
from carryon_worker.certify import Forge, SchedulerChoice, certify
from certification import page
from certification.page import Row

PROMISED: Final = 30
"""Pipeline classes that are certified with every sampler they are usually used with."""
STEPS: Final = 8


def certified(names: Sequence[str], threads: int) -> Iterator[list[Row]]:
    """Certify entries of the zoo, several at once; for each, in order, a row a sampler.

    Args:
        names: Of entries.
        threads: How many at once.
    """
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certification-")))
        forges: SimpleQueue[Forge] = SimpleQueue()
        for number in range(threads):
            (root / str(number)).mkdir()
            forges.put(stack.enter_context(Forge(root / str(number))))
        for name in names:
            # One after the other: random weights come from the generator of the process.
            zoo.build(name, root / "models" / name)

        def rows(name: str) -> list[Row]:
            with _lent(forges) as forge:
                return _certify(name, root / "models" / name, forge)

        yield from stack.enter_context(ThreadPoolExecutor(threads)).map(rows, names)


@contextmanager
def _lent(forges: SimpleQueue[Forge]) -> Iterator[Forge]:
    forge = forges.get()
    try:
        yield forge
    finally:
        forges.put(forge)


def _certify(name: str, model: Path, forge: Forge) -> list[Row]:
    entry = zoo.ENTRIES[name]
    params = {**entry.painted(), "num_inference_steps": STEPS}
    (_, own), *others = entry.samplers.items()
    verdicts = [*certify(str(model), pipeline=entry.pipeline, params=params, forge=forge)]
    if others:
        choices = [SchedulerChoice(sampler.kind, sampler.config) for _, sampler in others]
        verdicts += certify(str(model), pipeline=entry.pipeline, params=params, forge=forge, schedulers=choices)
    samplers = [own, *(sampler for _, sampler in others)]
    return [Row(entry, sampler, verdict) for sampler, verdict in zip(samplers, verdicts, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="certification", description="Certify the zoo.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of an entry; none: all")
    parser.add_argument("--page", type=Path, help="file that the table is written to")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="how many at once")
    asked = parser.parse_args()
    # Tiny models gain nothing from more.
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore", FutureWarning)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    rows: list[Row] = []
    for made in certified(asked.names or [*zoo.ENTRIES], asked.threads):
        for row in made:
            print(row.line, flush=True)
        rows += made
    wrong = [row for row in rows if row.wrong]
    classes = page.certified_classes(rows)
    print(f"{len(wrong)} wrong answers; {len(classes)} pipeline classes certified with every sampler")
    if asked.page is not None:
        asked.page.write_text(page.of(rows), encoding="utf-8")
    return int(bool(wrong) or (not asked.names and len(classes) < PROMISED))


if __name__ == "__main__":
    sys.exit(main())
