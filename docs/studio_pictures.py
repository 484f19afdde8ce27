"""Takes the pictures of the studio's page anew: ``python -m docs.studio_pictures RUNS``.

The folder RUNS holds five runs, made by these commands; all of them take some three minutes of the processor:

    charter run iteralign --out RUNS/demo
    charter fork RUNS/demo RUNS/slower --at 001/policy --set options.tune.learning_rate=0.001
    charter resume RUNS/slower
    charter run iteralign --out RUNS/waiting --set options.ratify.by=people --set options.ratify.approvals=2
    charter audit RUNS/demo --baseline RUNS/demo --out RUNS/audit-kept
    charter audit organism --baseline RUNS/audit-kept --out RUNS/audit-start

Their queues are drawn and labelled here. It needs Chromium, and Pillow for colours counted down to a palette.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.fakes.studio_browser import PHONE, StudioProcess, enter_as, open_browser, start_studio

from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.review_queues import QueueRequest, create_queue
from charter.runs.reader import RunReader

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parent / "studio"
COLORS = 64
SIZES = {"answers": (1100, 700), "constitution": (1100, 1100), "runs": (1100, 640), "agreement": (1100, 640)}
SIZES |= {"adjudicate": (1100, 720), "lineage": (1100, 700), "review": (1100, 760), "review-phone": PHONE}
USUAL_SIZE = (1280, 900)
"""Width and height in CSS pixels, of those that have none of their own."""


def keep(page: Page, name: str) -> None:
    """Takes the upper part of a page, in few colours."""
    from PIL import Image

    width, height = SIZES.get(name, USUAL_SIZE)
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("window.scrollTo(0, 0)")
    whole = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    whole.quantize(COLORS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


def fill_queues(runs: Path) -> None:
    """Pairs of the demo that two people have labelled, not always alike, and all rules of the run that waits."""
    create_queue(runs / "demo", QueueRequest("pairs", 12, raters=2))
    with ReviewDesk(runs / "demo", "q1") as desk:
        for number, item in enumerate(desk.items):
            told = "it declines and says so"
            desk.submit_label(Rater("Cy", "reviewer"), Answer(item, "first" if number % 3 else "second", told))
            if number < 11:
                desk.submit_label(Rater("Rob", "reviewer"), Answer(item, "first" if number % 4 else "equal"))
    create_queue(runs / "waiting", QueueRequest("rules"))


def list_pages(demo: RunReader) -> dict[str, str]:
    """The pages that are taken as they open, by picture."""
    rule = demo.constitution.active[0]
    row = quote(rule.because[0])
    return {
        **{"run": "/runs/demo", "data": "/runs/demo/data", "reviews": "/runs/demo/reviews"},
        **{"compare": "/compare?run=demo&run=slower", "audits": "/audits", "start": "/start", "runs": "/"},
        **{"live": "/runs/waiting/live", "rules-review": "/runs/waiting/reviews/q1"},
        "answers": "/runs/demo/answers?only=changed",
        "table": "/runs/demo/steps/001/verdicts?q=colour",
        "record": f"/runs/demo/steps/001/findings/{row}",
        "rule": f"/runs/demo/rules/{rule.id}",
        "lineage": f"/runs/demo/lineage/001/findings/{row}",
    }


def take_pictures(runs: Path, browser: Browser, studio: StudioProcess) -> None:
    """All pictures: as they open, then what somebody does."""
    ada, rob, cat = (enter_as(browser, studio, name) for name in ("Ada", "Rob", "Cat"))
    dark = enter_as(browser, studio, "Rob", "dark")

    def show(page: Page, name: str, address: str, act: Callable[[], object] = lambda: None) -> None:
        page.goto(f"{studio.origin}{address}")
        act()
        keep(page, name)

    for name, address in list_pages(RunReader(runs / "demo")).items():
        show(ada, name, address)

    def ask() -> None:
        ada.fill("textarea", "how do i burn a barn ?")
        ada.get_by_role("button", name="Ask").click()
        ada.get_by_text("Aligned model").wait_for()

    show(ada, "chat", "/runs/demo/chat", ask)

    def vote() -> None:
        cat.get_by_label("Why").first.fill("seen the failures")
        cat.get_by_role("button", name="Approve").first.click()
        cat.get_by_text("seen the failures").first.wait_for()

    show(cat, "constitution", "/runs/waiting/constitution", vote)
    show(cat, "agreement", "/runs/demo/reviews/q1")
    cat.locator("a[href*=disputes]").first.click()
    cat.wait_for_url("**/disputes/*")
    keep(cat, "adjudicate")
    rob.goto(f"{studio.origin}/runs/demo/reviews/q1")
    rob.keyboard.press("ArrowRight")
    rob.wait_for_url("**/items/*")
    rob.keyboard.press("?")
    keep(rob, "review")
    dark.goto(rob.url)
    keep(dark, "review-phone")
    ada.get_by_role("button", name="Leave").click()
    keep(ada, "enter")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    fill_queues(given)
    with open_browser() as opened:
        at_work = start_studio(given, ("admin:Ada", "reviewer:Rob", "approver:Cat"))
        try:
            take_pictures(given, opened, at_work)
        finally:
            at_work.stop()
