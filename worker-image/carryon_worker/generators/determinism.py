"""What must hold in a worker's process so that the same unit is the same bits."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import torch

from carryon_worker.generators.cpus import available_cpus


def configure(*libraries: ModuleType) -> None:
    """Ask for kernels that repeat themselves, and for silence: warnings of these libraries quote prompts."""
    # Deterministic kernels where there are any; never those that a timing in this process would choose.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(available_cpus())
    for library in libraries:
        messages: Any = library.utils.logging
        messages.set_verbosity_error()
        messages.disable_progress_bar()
