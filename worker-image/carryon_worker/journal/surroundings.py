"""Reads the worker fingerprint's fields off a loaded pipeline, its arguments, the libraries and the machine."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from PIL import Image

from carryon_core.fingerprint import digest
from carryon_worker import file_digest
from carryon_worker.journal import interception
from carryon_worker.journal.fingerprint import Fields, Value
from carryon_worker.journal.segments import FORMAT

_LIBRARIES: Final = (
    "diffusers", "transformers", "torch", "accelerate", "peft", "safetensors", "numpy",
    "flash-attn", "sageattention", "xformers", "bitsandbytes", "torchao", "triton", "kernels",
)  # fmt: skip
_CHOOSING: Final = (
    "NVIDIA_TF32_OVERRIDE", "TORCH_BLAS_PREFER_CUBLASLT", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY",
)  # fmt: skip
"""Environment variables by which libraries choose their kernels."""
_DRIVER: Final = Path("/proc/driver/nvidia/version")
_cudnn: Final[Any] = torch.backends.cudnn
"""It ships no types."""
_CPU: Final = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part", "CPU revision")
"""What a virtual machine's generic name leaves out; some on x86, some on ARM."""
_SHORT: Final = 16


def libraries() -> Fields:
    """Versions of what computes."""
    found: dict[str, Value] = {"journal": FORMAT}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["torch build"] = torch.version.git_version
    return found


def machine(device: str) -> Fields:
    """What it runs on, and the switches that decide about kernels.

    Args:
        device: "cuda" or "cpu".
    """
    flags: dict[str, Value] = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cublas workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "tf32": f"{torch.backends.cuda.matmul.allow_tf32}, {torch.backends.cudnn.allow_tf32}",
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": f"deterministic {torch.backends.cudnn.deterministic}, benchmark {torch.backends.cudnn.benchmark}",
        "attention": _AttentionBackendRegistry._active_backend.value,
        **{name: os.environ.get(name) for name in _CHOOSING},
    }
    if device != "cuda":
        # Another number of threads adds up in another order.
        threads = torch.get_num_threads()
        return {"device": f"cpu {_cpu()}, {torch.backends.cpu.get_cpu_capability()}", "threads": threads, **flags}
    seen = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "device": f"{seen.name}, {seen.major}.{seen.minor}, {seen.multi_processor_count} SM",
        "devices": torch.cuda.device_count(),
        "driver": _DRIVER.read_text().splitlines()[0] if _DRIVER.exists() else None,
        "cuda": torch.version.cuda,
        "cudnn version": _cudnn.version(),
        **flags,
    }


def pipeline(loaded: Any, overrides: Mapping[str, Any]) -> Fields:
    """Classes, types of weights, schedulers and switches of a pipeline.

    Args:
        loaded: The pipeline.
        overrides: Memory knobs as they took effect.
    """
    found: dict[str, Value] = {"pipeline": _class(type(loaded)), **_flat("memory", overrides)}
    for name, component in sorted(loaded.components.items()):
        if isinstance(component, torch.nn.Module):
            found.update(_module(name, component))
            continue
        found[name] = None if component is None else _class(type(component))
        # Of schedulers and guiders.
        settings = getattr(component, "config", None)
        if isinstance(settings, Mapping):
            found.update((f"{name}.{each}", _setting(settings[each])) for each in sorted(settings) if each[0] != "_")
    return found


def call(params: Mapping[str, Any], seed: int, folder: Path) -> Fields:
    """The arguments, texts and files as digests.

    Args:
        params: Of the pipeline.
        seed: Of the unit.
        folder: Of each attempt's own, where files lie that the unit was given: they count by their content, and where
            a text names the folder, only what it says besides.
    """

    def content(value: Any) -> Any:
        match value:
            case str() if value.startswith(f"{folder}/") and os.path.isfile(value):
                return file_digest.sha256(Path(value))
            case str():
                return value.replace(str(folder), "inputs")
            case list():
                return [content(inner) for inner in value]
            case Mapping():
                return {content(name): content(inner) for name, inner in value.items()}
        return value

    return {"seed": seed, **{f"params.{name}": _value(content(value)) for name, value in sorted(params.items())}}


def _module(name: str, component: torch.nn.Module) -> Iterator[tuple[str, Value]]:
    kind = interception.original(component)
    weights = [(path, [*weight.shape], str(weight.dtype)) for path, weight in component.state_dict().items()]
    yield name, _class(kind)
    yield f"{name}.dtype", "+".join(sorted({dtype.removeprefix("torch.") for *_, dtype in weights}))
    yield f"{name}.weights", f"{len(weights)} tensors {_short([[*each] for each in weights])}"
    quantizer = getattr(component, "hf_quantizer", None)
    yield f"{name}.quantizer", None if quantizer is None else _class(type(quantizer))
    attending = {
        f"{type(processor).__name__} {getattr(processor, '_attention_backend', None) or ''}".strip()
        for part in component.modules()
        if (processor := getattr(part, "processor", None)) is not None
    }
    yield f"{name}.attention", ", ".join(sorted(attending))
    compiled = sum(getattr(part, "_compiled_call_impl", None) is not None for part in component.modules())
    yield f"{name}.compiled", compiled
    for switch, value in sorted(vars(component).items()):
        if not switch.startswith("_") and isinstance(value, bool | int | float):
            yield f"{name}.{switch}", _value(value)


def _flat(path: str, settings: Mapping[str, Any]) -> dict[str, Value]:
    """Settings by their whole path, such as memory.groupOffload.level: a refusal names them so."""
    found: dict[str, Value] = {}
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            found.update(_flat(f"{path}.{name}", value))
        else:
            found[f"{path}.{name}"] = _setting(value)
    return found


def _setting(value: Any) -> Value:
    """A value that is nobody's own."""
    return value if isinstance(value, str) else _value(value)


def _value(value: Any) -> Value:
    """A value as it stands in the fingerprint; what may be somebody's own, or is large, as a digest."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Image.Image):
        return f"picture {value.mode} {value.size} {_hash(value.tobytes())}"
    if isinstance(value, Mapping):
        return f"{len(value)} fields {_short({str(each): _value(inner) for each, inner in value.items()})}"
    if isinstance(value, str):
        return f"text {_hash(value.encode('utf-8', 'surrogatepass'))}"
    if isinstance(value, Sequence):
        return f"{len(value)} values {_short([_value(inner) for inner in value])}"
    return f"a {_class(type(value))}"


def _class(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(value: Any) -> str:
    return digest(value)[:_SHORT]


def _hash(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:_SHORT]


def _cpu() -> str:
    """Name of the processor, and a digest of what else tells it from others: libraries choose their kernels by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return f"{told.get('model name', platform.machine())} {_short([told.get(name) for name in _CPU])}"
