"""Pictures of the page for the docs, of jobs that really ran: `make screenshots`.

python -m browser.screenshots FOLDER [NAME...]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from browser import chromium
from browser.pictures import PICTURE
from browser.visitor import Visitor
from plane import Plane, finished, units_done
from reels import reel

DESKTOP: Final = {"width": 1280, "height": 820}
PHONE: Final = {"width": 390, "height": 800}
SCENES: Final = (
    ("dunes", "dunes at dawn, long shadows", (236, 190, 140), (150, 96, 60)),
    ("harbour", "a harbour before the storm", (150, 180, 205), (40, 62, 84)),
    ("meadow", "a meadow in june, tall grass", (190, 220, 240), (92, 140, 70)),
    ("glacier", "blue ice, very close", (226, 240, 250), (110, 160, 200)),
    ("old-town", "roofs of an old town at dusk", (240, 160, 120), (96, 52, 60)),
    ("rain-forest", "rain forest, mist between trees", (170, 200, 180), (24, 64, 48)),
    ("night-market", "lanterns of a night market", (60, 40, 90), (200, 90, 60)),
    ("salt-flats", "salt flats under a white sun", (240, 240, 236), (190, 180, 172)),
    ("lighthouse", "a lighthouse in heavy seas", (120, 140, 160), (30, 44, 60)),
    ("canyon", "a canyon, red rock", (250, 214, 170), (160, 70, 40)),
    ("orchard", "an orchard in blossom", (226, 214, 236), (110, 130, 84)),
    ("delta", "a delta from above", (140, 190, 180), (70, 100, 60)),
)
DRAW: Final = """
import json, math, os, pathlib, random, sys, time
from PIL import Image
sky, land = json.loads(sys.argv[1])
drawn = random.Random(int(os.environ["CARRYON_SEED"]))
wide, high = 320, 200
waves = [(drawn.uniform(1, 5), drawn.uniform(0, 6.3), drawn.uniform(6, 16)) for _ in range(3)]
picture = Image.new("RGB", (wide, high))
for x in range(wide):
    hill = lambda k: sum(tall * math.sin(often * x / wide * 6.3 + at + k) for often, at, tall in waves)
    ridges = [high * (0.45 + 0.17 * k) + hill(k) for k in range(3)]
    for y in range(high):
        depth = sum(y > ridge for ridge in ridges)
        shade = 1 - 0.22 * depth if depth else 1.06 - 0.2 * (1 - y / high)
        part = land if depth else sky
        picture.putpixel((x, y), tuple(min(255, int(c * shade)) for c in part))
"""
STEPS: Final = """
for step in range(int(sys.argv[2]) + 1):
    pathlib.Path(os.environ["CARRYON_PROGRESS"]).write_text(f"{step}/30")
    print(f"step {step}/30", flush=True)
    time.sleep(0.02)
while sys.argv[3] != "-" and not os.path.exists(sys.argv[3]):
    time.sleep(0.2)
picture.save(pathlib.Path(os.environ["CARRYON_OUTPUT"], "image.png"))
"""
FILM: Final = """
import av
with av.open(str(pathlib.Path(os.environ["CARRYON_OUTPUT"], "clip.mp4")), "w") as clip:
    stream = clip.add_stream("libx264", rate=12)
    stream.width, stream.height, stream.pix_fmt = 256, 160, "yuv420p"
    for number in range(24):
        frame = picture.crop((number * 2, 20, number * 2 + 256, 180))
        clip.mux(stream.encode(av.VideoFrame.from_image(frame)))
    clip.mux(stream.encode())
"""


def scenes(count: int) -> list[dict[str, Any]]:
    """Items with a prompt and two colours each."""
    return [
        {"id": item, "params": {"prompt": prompt, "colours": [sky, land]}} for item, prompt, sky, land in SCENES[:count]
    ]


def drawn(
    name: str, count: int, gate: Path | str, *, held: tuple[str, ...] = (), broken: str = "", **spec: Any
) -> dict[str, Any]:
    """A job that draws an image of each scene; those held stop at some step until the gate is there."""
    made = reel(name, **spec)
    stop = "OutOfMemory: 14.2 GiB of 16 GiB were in use"
    fails = f"if os.environ['CARRYON_ITEM'] == {broken!r} and not os.path.exists({str(gate)!r}): sys.exit('{stop}')\n"
    at = "str(7 + len(os.environ['CARRYON_ITEM']))"
    wait = f"\nif os.environ['CARRYON_ITEM'] in {held!r}: sys.argv[2:] = [{at}, {str(gate)!r}]\n"
    made["spec"]["items"] = {"list": scenes(count)}
    made["spec"]["stages"] = [
        {
            "name": "image",
            "generate": {
                "command": {"args": ["python3", "-c", DRAW + fails + wait + STEPS, "{{ item.colours }}", "30", "-"]}
            },
        }
    ]
    made["spec"]["retry"] = {"perUnit": 1, "rounds": 0}
    return made


@dataclass
class Studio:
    """A control plane with jobs in all kinds of states, and a camera."""

    plane: Plane
    browser: Browser
    folder: Path
    gate: Path
    only: tuple[str, ...]

    @contextmanager
    def window(self, *, dark: bool = False, phone: bool = False) -> Iterator[Visitor]:
        """A window that is closed afterwards."""
        context = self.browser.new_context(
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            accept_downloads=True,
        )
        visitor = Visitor(self.plane, context, context.new_page())
        try:
            yield visitor.sign_in()
        finally:
            context.close()
        assert visitor.wrong == []

    def take(self, name: str, look: Callable[[Visitor], None], *, full: bool = False, everywhere: bool = False) -> None:
        """A picture of what is looked at; everywhere: light and dark, on a desktop and on a phone."""
        if self.only and name not in self.only:
            return
        kinds = [("", {}), ("-dark", {"dark": True}), ("-phone", {"phone": True})] if everywhere else [("", {})]
        for ending, kind in kinds:
            with self.window(**kind) as visitor:
                look(visitor)
                # Pictures and the first moments of clips come by themselves; nothing says when the last one is drawn.
                visitor.page.wait_for_timeout(1500)
                path = self.folder / f"{name}{ending}.png"
                visitor.screenshot(path, full=full)
                smaller(path)
                print(path)


def smaller(path: Path) -> None:
    """The same picture in 256 colours: a third of the size, and nobody sees it."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def prepare(plane: Plane, gate: Path) -> None:
    """Jobs in all kinds of states."""
    done = drawn("intro-v3", 8, gate, unitsPerPod=8)
    done["spec"]["stages"].append(clips())
    plane.apply(done)
    plane.apply(drawn("first-try", 6, gate, broken="glacier", unitsPerPod=3))
    blog = reel(
        "blog-autumn", clips=8, script='echo "# Post $CARRYON_ITEM" > "$CARRYON_OUTPUT/topic.md"', unitsPerPod=4
    )
    blog["spec"]["stages"].append(
        {**blog["spec"]["stages"][0], "name": "write", "after": ["clip"], "approval": "Required"}
    )
    blog["spec"]["stages"][0]["name"] = "topic"
    blog["spec"]["stages"][1]["after"] = ["topic"]
    plane.apply(blog)
    for name in ("intro-v3", "first-try"):
        plane.wait_for(name, finished, 120)
    big = reel(
        "thumbnails",
        clips=1200,
        script='[ "$CARRYON_INDEX" != 77 ] || exit 12; : > "$CARRYON_OUTPUT/t"',
        unitsPerPod=100,
    )
    big["spec"]["parallelism"] = 2
    plane.apply(big)
    plane.wait_for("thumbnails", lambda job: units_done(job) >= 220, 240)
    plane.patch("thumbnails", {"spec": {"suspend": True}})
    plane.apply(drawn("product-shots", 10, gate, held=("night-market", "salt-flats"), unitsPerPod=4))
    plane.wait_for("product-shots", lambda job: units_done(job) >= 4)
    plane.patch("product-shots", {"spec": {"suspend": True}})
    plane.apply(reel("too-large", clips=4, script=PICTURE) | {})
    plane.patch(
        "too-large",
        {"spec": {"stages": [{**reel("x")["spec"]["stages"][0], "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}},
    )
    last = drawn("reel-42", 12, gate, held=("delta", "orchard", "canyon"), broken="lighthouse", parallelism=4)
    plane.apply(last)
    plane.wait_for("reel-42", lambda job: units_done(job) >= 8 and job["status"]["units"]["failed"] == 1, 120)


def clips() -> dict[str, Any]:
    """A stage that makes a film of a drawing."""
    args = ["python3", "-c", DRAW + FILM, "{{ item.colours }}"]
    return {"name": "clip", "after": ["image"], "generate": {"command": {"args": args}}}


def take_all(studio: Studio) -> None:
    """Every picture of the docs."""

    def running(visitor: Visitor) -> None:
        visitor.open("reel-42")
        expect(visitor.unit("image", 11)).to_contain_text("step")
        expect(visitor.page.locator(".unit img").first).to_be_visible()

    def unit(name: str) -> Callable[[Visitor], None]:
        job, stage, item = name.split("/")

        def look(visitor: Visitor) -> None:
            visitor.open(job).go(f"#/jobs/default/{job}/units/{stage}/{item}")
            expect(visitor.page.get_by_role("heading", name="Attempts")).to_be_visible()

        return look

    def pressed(job: str, action: str, then: str = "") -> Callable[[Visitor], None]:
        def look(visitor: Visitor) -> None:
            visitor.open(job).press(action)
            if then:
                visitor.page.get_by_role("button", name=then).click()

        return look

    def disabled(visitor: Visitor) -> None:
        visitor.open("intro-v3")
        visitor.control("pause").hover()

    def written(way: str) -> Callable[[Visitor], None]:
        def look(visitor: Visitor) -> None:
            visitor.go("#/new")
            visitor.page.get_by_label("Name", exact=True).first.fill("reel-43")
            visitor.page.get_by_role("button", name=way).click()
            expect(visitor.page.locator(".findings li").first).to_be_visible()

        return look

    def imported(visitor: Visitor) -> None:
        visitor.open("product-shots").press("export")
        with visitor.page.expect_download() as downloading:
            visitor.page.get_by_role("button", name="Download", exact=True).click()
        file = studio.gate.parent / "product-shots.carryon"
        downloading.value.save_as(file)
        visitor.go("#/import").page.locator("input[type=file]").set_input_files(file)
        expect(visitor.page.get_by_role("button", name="Import", exact=True)).to_be_visible()

    def signed_out(visitor: Visitor) -> None:
        running(visitor)
        visitor.page.wait_for_timeout(1000)
        visitor.context.clear_cookies()
        visitor.press("pause")
        expect(visitor.page.get_by_text("You are signed out")).to_be_visible()

    def sign_in(visitor: Visitor) -> None:
        visitor.context.clear_cookies()
        visitor.page.reload()

    def map_(visitor: Visitor) -> None:
        visitor.open("thumbnails").page.get_by_role("application").focus()
        visitor.page.keyboard.press("PageDown")
        visitor.page.evaluate("scrollTo(0, 0)")

    def list_(visitor: Visitor) -> None:
        visitor.open("first-try").page.get_by_role("button", name="List").click()

    def settings(visitor: Visitor) -> None:
        visitor.open("first-try").page.get_by_text("Settings", exact=True).click()
        visitor.page.get_by_role("region", name="The job as YAML").scroll_into_view_if_needed()

    def analytics(visitor: Visitor) -> None:
        visitor.go("#/analytics")
        expect(visitor.page.get_by_role("region", name="Time per stage")).to_be_visible()

    studio.take("jobs", lambda visitor: expect(visitor.page.locator(".job-row")).to_have_count(7), everywhere=True)
    studio.take("running", running, everywhere=True)
    studio.take("clips", lambda visitor: visitor.open("intro-v3").sees_unit("clip", 7, "done"), full=True)
    studio.take("unit", unit("intro-v3/clip/harbour"), everywhere=True)
    studio.take("failed-unit", unit("first-try/image/glacier"))
    studio.take("failed", lambda visitor: visitor.open("first-try").sees_phase("Failed"))
    studio.take("map", map_, everywhere=True)
    studio.take("list", list_)
    studio.take("settings", settings)
    studio.take("disabled", disabled)
    studio.take("approval", pressed("blog-autumn", "approve"))
    studio.take("stalled", lambda visitor: visitor.open("too-large").sees_phase("Stalled", 90))
    studio.take("confirm", pressed("reel-42", "cancel"))
    studio.take("export", pressed("reel-42", "export"))
    studio.take("pause-until", pressed("reel-42", "pause-until"))
    studio.take("analytics", analytics, full=True)
    studio.take("import", imported)
    studio.take("form", written("Form"), full=True)
    studio.take("yaml", written("YAML"))
    studio.take("signed-out", signed_out)
    studio.take("sign-in", sign_in)
    studio.take("pausing", pressed("reel-42", "pause"))
    studio.take("suspended", lambda visitor: visitor.open("reel-42").sees_phase("Suspended"))
    studio.gate.touch()
    studio.take("resumed", pressed("reel-42", "resume"))


def main(folder: Path, only: tuple[str, ...]) -> None:
    """Take them."""
    path = chromium.found()
    if path is None:
        sys.exit(chromium.MISSING)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        plane = Plane(Path(place) / "plane").start()
        browser = playwright.chromium.launch(executable_path=path, args=chromium.switches())
        try:
            gate = Path(place) / "gate"
            prepare(plane, gate)
            take_all(Studio(plane, browser, folder, gate, only))
        finally:
            browser.close()
            plane.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), tuple(sys.argv[2:]))
