"""`make demo`: a reel of 15 clips on this machine, with a tiny made-up model.

Everything lies in ./demo: the model, the control plane's state, the clips, the contact sheet. Press Ctrl-C, or kill
what you like, at any moment: the same command carries on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import yaml
from PIL import Image, ImageDraw

from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec

EXAMPLES = Path(__file__).resolve().parent
DEMO = EXAMPLES.parent / "demo"
MODEL = DEMO / "model"
OUTPUT = DEMO / "output"
SHEET = DEMO / "contact-sheet.png"
COLUMNS, TILE, CAPTION = 5, 160, 16
INTERRUPTED = 130


def main() -> int:
    DEMO.mkdir(exist_ok=True)
    if not MODEL.exists():
        print("building a tiny model with made-up weights (once) ...", flush=True)
        if code := call(str(EXAMPLES / "tiny_pipeline.py"), str(MODEL)):
            return code
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
        contact_sheet(list(clips(job))).save(SHEET)
        print(f"contact sheet: {SHEET}")
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
    """Item and clip of each unit, as its done.json says."""
    resolved = resolve("default", job["metadata"]["name"], JobSpec.model_validate(job["spec"]))
    for unit in resolved.units():
        folder = OUTPUT / resolved.prefix(unit)
        yield resolved.ids[unit.item], folder / json.loads((folder / "done.json").read_text())["artifacts"][0]["key"]


def contact_sheet(labelled: list[tuple[str, Path]]) -> Image.Image:
    """One frame of each clip, from its middle, with its name."""
    rows = -(-len(labelled) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, clip) in enumerate(labelled):
        row, column = divmod(number, COLUMNS)
        corner = (column * TILE, row * (TILE + CAPTION))
        sheet.paste(middle_frame(clip).resize((TILE - 4, TILE - 4)), corner)
        draw.text((corner[0] + 2, corner[1] + TILE - 3), name, fill="black")
    return sheet


def middle_frame(clip: Path) -> Image.Image:
    with av.open(str(clip)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return frames[len(frames) // 2]


if __name__ == "__main__":
    sys.exit(main())
