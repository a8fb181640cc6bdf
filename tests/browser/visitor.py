"""Somebody with the page open: what they see and press. Everything waits until it is so, or says what was there."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from carryon_standalone.cli import paging
from carryon_standalone.home import Home
from plane import Plane

SERIOUS = ("serious", "critical")
WINDOW: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"}
"""How browsers are opened. Nothing moves for long: what begins to move while axe looks would seem too pale."""
Visit = Callable[..., "Visitor"]
"""Opens a browser of its own."""
_DROP = """async ([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""
# A view is there when its effects have run too: they listen to keys, and give it the keyboard.
_GO = """(route) => new Promise((arrived) => {
  const before = location.href;
  const shown = () => requestAnimationFrame(() => setTimeout(arrived));
  addEventListener("hashchange", shown, { once: true });
  location.hash = route;
  if (location.href === before) shown();
})"""
# What spins for as long as something is under way never arrives.
_AT_REST = """() => Promise.all(document.getAnimations()
  .filter((each) => each.effect.getComputedTiming().endTime !== Infinity)
  .map((each) => each.finished.catch(() => null)))"""


@dataclass
class Visitor:
    """One window of one browser, signed in to a control plane.

    Attributes:
        wrong: Errors that the window's scripts and its policy reported.
    """

    plane: Plane
    context: BrowserContext
    page: Page
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        # Refusals of the API are what some tests are about; the browser logs each as an error.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        # The page works in a cluster without a way out.
        if not request.url.startswith((self.origin + "/", "data:", "blob:")):
            self.wrong.append(f"a request to {request.url}")

    @property
    def origin(self) -> str:
        """Where the page is."""
        address = paging.address(Home.of(self.plane.data))
        assert address is not None, self.plane.logs()
        return address.rstrip("/")

    def sign_in(self) -> Visitor:
        """Open the page as `carryon page` does."""
        self.page.goto(paging.signing_in(Home.of(self.plane.data)))
        expect(self.page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        return self

    def go(self, route: str) -> Visitor:
        """Follow a link inside the page, without loading it anew."""
        go(self.page, route)
        return self

    def open(self, job: str) -> Visitor:
        """Look at a job."""
        self.go(f"#/jobs/default/{job}")
        expect(self.page.locator(".job-title h1")).to_have_text(job)
        return self

    # -- what is seen

    def sees_progress(self, text: str, timeout: float = 30) -> None:
        """The job's progress becomes this, such as 9/15."""
        expect(self.page.locator("[data-progress]")).to_have_text(text, timeout=timeout * 1000)

    def sees_phase(self, phase: str, timeout: float = 30) -> None:
        """The job's phase becomes this."""
        expect(self.page.locator(".job-title [data-phase]")).to_have_attribute(
            "data-phase", phase, timeout=timeout * 1000
        )

    def sees_unit(self, stage: str, index: int, state: str, timeout: float = 30) -> None:
        """A unit's cell becomes this state."""
        expect(self.unit(stage, index)).to_have_attribute("data-state", state, timeout=timeout * 1000)

    def sees_toast(self, text: str) -> None:
        """A message says this, or holds it."""
        expect(self.page.locator(".toast").filter(has_text=text).first).to_be_visible()

    def unit(self, stage: str, index: int) -> Locator:
        """The cell of a unit."""
        return self.page.locator(f'[data-unit="{stage}/{index}"]')

    def control(self, action: str) -> Locator:
        """The button of an action, in the job's toolbar."""
        return self.page.locator(f'[role=toolbar] [data-action="{action}"]')

    def reason(self, action: str) -> str:
        """Why an action can, or can't, be taken: what a screen reader reads after the button's name."""
        return str(
            self.control(action).evaluate(
                "button => document.getElementById(button.getAttribute('aria-describedby')).textContent"
            )
        )

    # -- what is done

    def press(self, action: str) -> None:
        """Press a control that can be pressed."""
        expect(self.control(action)).not_to_have_attribute("aria-disabled", "true")
        self.control(action).click()

    def drop(self, file: Path) -> None:
        """Drop a file on the window."""
        self.page.evaluate(_DROP, [base64.b64encode(file.read_bytes()).decode(), file.name])

    def watch(self, selector: str) -> None:
        """Keep every text that an element has from now on, however short, until the page is loaded anew."""
        self.page.evaluate(
            """(selector) => {
              const seen = window.seen = [];
              const look = () => {
                const now = document.querySelector(selector)?.textContent.trim();
                if (now && now !== seen.at(-1)) seen.push(now);
              };
              look();
              const all = { subtree: true, childList: true, characterData: true };
              new MutationObserver(look).observe(document.body, all);
            }""",
            selector,
        )

    def watched(self) -> list[str]:
        """What was kept; fails where the page has been loaded anew."""
        seen: list[str] = self.page.evaluate("() => window.seen")
        return seen

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        """A picture of the window, with everything that moves at rest."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=full, animations="disabled")

    def serious_barriers(self) -> list[str]:
        """What axe finds that keeps people out, once everything that moves has arrived."""
        return serious_barriers(self.page)


def go(page: Page, route: str) -> None:
    """Follow a link inside the page; its view is drawn when this returns, with what is known of it."""
    page.evaluate(_GO, route)


def serious_barriers(page: Page) -> list[str]:
    """What axe finds in a window that keeps people out, once everything that moves has arrived."""
    page.evaluate(_AT_REST)
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{each['id']}: {each['help']}: {json.dumps([node['html'][:200] for node in each['nodes'][:3]])}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
