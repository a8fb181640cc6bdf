"""What `carryon certify` makes of its command line, and how it shows verdicts."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from carryon_standalone.cli import verdict_table
from carryon_standalone.cli.certifying import chosen, knobs, parameters
from carryon_standalone.cli.errors import USAGE, CommandError

VERDICT: dict[str, Any] = {
    "pipeline": "WanPipeline", "scheduler": "UniPCMultistepScheduler", "calls": 80, "repeatable": True, "exact": True,
    "control": "changed", "replayed": 146, "recomputed": 0, "bytes": 774_000_000, "waited": 0.25, "replay": 3.5,
    "durable": 0.75, "problem": "", "device": "NVIDIA H100", "versions": {"torch": "2.13.0"}, "certified": True,
}  # fmt: skip


def test_arguments_come_from_a_file_and_from_the_command_line_which_counts_more(tmp_path: Path) -> None:
    file, picture = tmp_path / "params.yaml", tmp_path / "a b.png"
    file.write_text("prompt: dunes\nheight: 480\nimage: {file: /pictures/a.png}\n")
    picture.touch()
    given = ["height=720", "seeds=[1, 2]", "prompt=a = b", f"mask=@{picture}", "guidance_scale=4.5", "style=null"]
    assert parameters(file, given) == {
        "prompt": "a = b",
        "height": 720,
        "image": {"file": "/pictures/a.png"},
        "seeds": [1, 2],
        "mask": {"file": str(picture)},
        "guidance_scale": 4.5,
        "style": None,
    }
    assert parameters(None, []) == {}


def test_memory_knobs_are_those_of_a_job() -> None:
    given = ["offload=group", 'groupOffload={"level": "leaf"}', "tiling=true"]
    assert knobs(given) == {"offload": "group", "groupOffload": {"level": "leaf"}, "tiling": True}
    assert knobs([]) == {}


def test_a_scheduler_is_a_class_with_the_fields_that_differ() -> None:
    assert chosen("DDIMScheduler") == {"name": "DDIMScheduler", "params": {}}
    assert chosen("EulerDiscreteScheduler:use_karras_sigmas=true,timestep_spacing=trailing") == {
        "name": "EulerDiscreteScheduler",
        "params": {"use_karras_sigmas": True, "timestep_spacing": "trailing"},
    }


def test_what_is_not_of_this_form_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "broken.yaml").write_text("a: [")
    table = [
        (lambda: parameters(None, ["prompt"]), "--param prompt: write name=value"),
        (lambda: parameters(None, ["=fox"]), "--param =fox: write name=value"),
        (lambda: parameters(None, ["image=@none.png"]), "--param image=@none.png: there is no file none.png"),
        (lambda: parameters(tmp_path / "none.yaml", []), "none.yaml can't be read: No such file"),
        (lambda: parameters(tmp_path / "list.yaml", []), "list.yaml should hold one object"),
        (lambda: parameters(tmp_path / "broken.yaml", []), "broken.yaml is no YAML"),
        (lambda: knobs(["offlod=model"]), "--memory offlod: Extra inputs are not permitted; there are offload,"),
        (lambda: knobs(["offload=much"]), "--memory offload: Input should be 'none', 'model'"),
        (lambda: chosen("A:b"), "--scheduler b: write name=value"),
    ]
    for ask, sentence in table:
        with pytest.raises(CommandError) as refused:
            ask()
        assert sentence in str(refused.value)
        assert refused.value.code == USAGE


def shown(*verdicts: dict[str, Any]) -> list[str]:
    output = StringIO()
    Console(width=1000, file=output).print(verdict_table.table(verdicts))
    return [" ".join(line.split()) for line in output.getvalue().splitlines()]


def test_a_verdict_is_a_row_with_what_a_checkpoint_costs() -> None:
    _, row, *rest = shown(VERDICT)
    assert row == (
        "WanPipeline UniPCMultistepScheduler certified yes yes changed 80 146 0 9.7 MB 774.0 MB 0.250 s 3.50 s 0.75 s"
    )
    assert rest == ["", "on NVIDIA H100; torch 2.13.0"]


def test_what_is_in_the_way_stands_below_the_rows() -> None:
    problem = {"exact": None, "bytes": 0, "calls": 0, "certified": False, "control": "", "problem": "there is no [x]"}
    _, row, *rest = shown({**VERDICT, **problem})
    assert row.startswith("WanPipeline UniPCMultistepScheduler NOT CERTIFIED yes - - - -")
    assert "WanPipeline, UniPCMultistepScheduler: there is no [x]" in rest
