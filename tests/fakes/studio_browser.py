"""The studio as a process of its own, and a real browser that looks at it: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(__file__).parents[1] / "fixtures" / "axe" / "axe.min.js"
DESKTOP, PHONE = (1280, 900), (390, 844)
"""Widths and heights in CSS pixels."""
PATIENCE = 120_000.0
"""Milliseconds to wait for what a page is to show."""


@dataclass(frozen=True)
class StudioProcess:
    """``charter studio`` at work: by person the address that lets in."""

    process: subprocess.Popen[str]
    entrances: dict[str, str]

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return next(iter(self.entrances.values())).partition("/enter")[0]

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ends it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def start_studio(root: Path, people: Sequence[str], port: int = 0) -> StudioProcess:
    """Starts it over a folder; each of the people is ``ROLE:NAME``."""
    words = [word for person in people for word in ("--role", person)]
    process = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", "studio", str(root), "--port", str(port), *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in people]
    names = [person.partition(":")[2] for person in people]
    return StudioProcess(process, {name: line.split()[-1] for name, line in zip(names, lines, strict=True)})


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    sync_api: Any = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def enter_as(browser: Browser, studio: StudioProcess, person: str, scheme: str = "light") -> Page:
    """A page of somebody who came in, in a context of its own. A fault of a script or of the policy fails the test."""
    width, height = DESKTOP
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", _fail)
    page.on("console", lambda message: _fail(message.text) if "Content Security Policy" in message.text else None)
    page.goto(studio.entrances[person])
    return page


def find_axe_violations(page: Page) -> list[str]:
    """What axe calls serious or critical on a page: the rule, and the elements that break it."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url} {broken['id']}: {[node['target'] for node in broken['nodes']][:4]}"
        for broken in found["violations"]
        if broken["impact"] in ("serious", "critical")
    ]


def _fail(error: object) -> None:
    raise AssertionError(f"a page complained: {error}")
