"""Which denoisers compile; nothing is compiled here, because nothing is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import ModelMixin

from carryon_worker.failures import BadRequest
from carryon_worker.generators import compiling


class Block(torch.nn.Module):
    pass


class Repeating(ModelMixin):  # type: ignore[misc]
    _repeated_blocks = ("Block",)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block() for _ in range(count)])


class Adapter(ModelMixin):  # type: ignore[misc]
    pass


def compiled(module: Any) -> int:
    return sum(part._compiled_call_impl is not None for part in module.modules())


def test_repeated_blocks_compile_and_a_part_without_any_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Any program that tells its version.
    monkeypatch.setenv("CXX", "ls")
    denoiser, adapter = Repeating(3), Adapter()
    compiling.blocks({"transformer": denoiser, "adapter": adapter}, "cpu")
    assert (compiled(denoiser), compiled(adapter)) == (3, 0)


@pytest.mark.parametrize(
    ("denoisers", "named"),
    [({"a": Repeating(0), "b": Adapter()}, r"Repeating \(a\), Adapter \(b\)"), ({}, "this pipeline")],
    ids=["without blocks", "none"],
)
def test_where_none_has_repeated_blocks_that_is_said(denoisers: Any, named: str) -> None:
    with pytest.raises(BadRequest, match=f"names no repeated blocks of {named}; leave memory.compile out"):
        compiling.blocks(denoisers, "cpu")


def test_what_a_compiler_says_of_itself_is_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "ls")
    assert compiling.compiler("cpu").startswith("ls ")
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(BadRequest, match=r"needs a C\+\+ compiler in the worker's image, and false can't be run"):
        compiling.compiler("cpu")
