"""The CEL engine, without the command line that its package loads along with it.

That command line brings a terminal's worth of libraries: they take as long to load as half of the server, and as much
memory as a thousand pods. So the package is entered past its `__init__`, which does nothing but import its parts.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Final

_NAME: Final = "cel"


def _part(name: str) -> ModuleType:
    """A module of the package; `cel` itself stays as whoever needs it finds it."""
    if _NAME in sys.modules:
        return importlib.import_module(f"{_NAME}.{name}")
    found = PathFinder.find_spec(_NAME)
    if found is None:
        raise ModuleNotFoundError("No module named 'cel'", name=_NAME)
    hollow = ModuleSpec(_NAME, None, is_package=True)
    hollow.submodule_search_locations = found.submodule_search_locations
    sys.modules[_NAME] = module_from_spec(hollow)
    try:
        return importlib.import_module(f"{_NAME}.{name}")
    finally:
        del sys.modules[_NAME]


_engine: Final = _part("cel")
compile_source: Final = _engine.compile
Context: Final = _engine.Context
STDLIB_FUNCTIONS: Final = _part("stdlib").STDLIB_FUNCTIONS
