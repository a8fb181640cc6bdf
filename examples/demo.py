"""`make demo`: a reel of 15 clips on this machine, by the toy model in examples/toy-model.

Everything lies in ./demo: the control plane's state, the clips, the film, the contact sheet. Press Ctrl-C, or kill what
you like, at any moment: the same command carries on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import av
import yaml
from PIL import Image, ImageDraw

from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec

EXAMPLES = Path(__file__).resolve().parent
DEMO = EXAMPLES.parent / "demo"
MODEL = EXAMPLES / "toy-model" / "shapes"
OUTPUT = DEMO / "output"
SHEET, MOVING = DEMO / "contact-sheet.png", DEMO / "contact-sheet.gif"
COLUMNS, TILE, CAPTION = 5, 160, 34
INTERRUPTED = 130


def main() -> int:
    DEMO.mkdir(exist_ok=True)
    job = yaml.safe_load((EXAMPLES / "reel.yaml").read_text())
    job["spec"]["stages"][0]["generate"]["diffusers"]["model"] = str(MODEL)
    manifest = DEMO / "reel.yaml"
    manifest.write_text(yaml.safe_dump(job, sort_keys=False))
    print(f"watch it in a browser, once it is up: {Path(sys.executable).parent}/carryon page --data {DEMO / 'state'}")
    state = ("--data", str(DEMO / "state"), "--output", str(OUTPUT))
    code = call("-m", "carryon_standalone", "run", str(manifest), *state, "--down-on-exit")
    if code == INTERRUPTED:
        print("`make demo` carries on")
    if code == 0:
        sheets = contact_sheets(list(clips(job)))
        sheets[len(sheets) // 2].save(SHEET, optimize=True)
        # Without dots between colours, which would be most of the file.
        moving = [sheet.quantize(64, dither=Image.Dither.NONE) for sheet in sheets]
        moving[0].save(MOVING, save_all=True, append_images=moving[1:], duration=125, loop=0)
        print(f"contact sheet: {SHEET}, moving: {MOVING}\nfilm: {film(job)}")
    return code


def call(*arguments: str) -> int:
    """Run a Python program to its end; Ctrl-C reaches it by itself, and it decides what that means."""
    # Several workers share the machine: with a thread for each core each, they would get in each other's way.
    environment = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", **os.environ}
    with subprocess.Popen([sys.executable, *arguments], env=environment) as program:
        while True:
            try:
                return program.wait()
            except KeyboardInterrupt:
                continue


def clips(job: dict) -> Iterator[tuple[str, Path]]:
    """Prompt and file of each clip."""
    resolved = resolve("default", job["metadata"]["name"], JobSpec.model_validate(job["spec"]))
    for unit in resolved.stages[0].units:
        yield resolved.params[unit.item]["prompt"], artifact(OUTPUT / resolved.prefix(unit))


def film(job: dict) -> Path:
    """The last one that was made: which clips it is of is part of its folder's name."""
    folders = [done.parent for done in OUTPUT.glob(f"default/{job['metadata']['name']}/film/*/*/done.json")]
    return artifact(max(folders, key=lambda folder: (folder / "done.json").stat().st_mtime))


def artifact(folder: Path) -> Path:
    """The first file of a unit, as its done.json says."""
    return folder / json.loads((folder / "done.json").read_text())["artifacts"][0]["key"]


def contact_sheets(titled: list[tuple[str, Path]]) -> list[Image.Image]:
    """All clips side by side, with their prompts, frame by frame."""
    return [
        contact_sheet([(title, frame) for (title, _), frame in zip(titled, shown, strict=True)])
        for shown in zip(*(frames(clip) for _, clip in titled), strict=True)
    ]


def contact_sheet(titled: list[tuple[str, Image.Image]]) -> Image.Image:
    rows = -(-len(titled) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (title, frame) in enumerate(titled):
        row, column = divmod(number, COLUMNS)
        x, y = column * TILE, row * (TILE + CAPTION)
        sheet.paste(frame.resize((TILE - 4, TILE - 4), Image.Resampling.LANCZOS), (x, y))
        draw.multiline_text((x + 2, y + TILE - 3), textwrap.fill(title, width=25), fill="black", spacing=2)
    return sheet


def frames(clip: Path) -> list[Image.Image]:
    with av.open(str(clip)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


if __name__ == "__main__":
    sys.exit(main())
