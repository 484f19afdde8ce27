"""Every page in a real browser: axe finds nothing serious in light or dark, and a phone shows it without sideways
scrolling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.runs.stored_queues import read_queue
from tests.fakes.recorded_run import Tale, tell
from tests.fakes.reviewed_runs import make_queue, record_run
from tests.fakes.studio_browser import (
    PHONE,
    StudioProcess,
    enter_as,
    find_axe_violations,
    open_browser,
    start_studio,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ADDRESSES = (
    "/",
    "/compare?run=one&run=two",
    "/audits",
    "/start",
    "/runs/one",
    "/runs/one/constitution",
    "/runs/one/rules/p-1",
    "/runs/one/answers",
    "/runs/one/live",
    "/runs/one/steps/001/exchanges",
    "/runs/one/steps/001/exchanges/x1",
    "/runs/one/chat",
    "/runs/one/data",
    "/runs/one/lineage/001/findings/x1",
    "/runs/under-way",
    "/runs/rated/constitution",
    "/runs/rated/reviews",
    "/runs/rated/reviews/q1",
    "/runs/rated/reviews/q1/items/FIRST",
    "/runs/rated/reviews/q1/disputes/FIRST",
    "/runs/rated/reviews/q2",
    "/runs/none",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs")
    tell(found / "one")
    tell(found / "two", Tale(outcomes=(0.25, 0.5)))
    tell(found / "under-way", Tale(finished=False))
    record_run(found / "rated")
    make_queue(found / "rated", "pairs", raters=2)
    make_queue(found / "rated", "rules")
    with ReviewDesk(found / "rated", "q1") as desk:
        for item in desk.items:
            for rater, label in (("Root", "first"), ("Bo", "second")):
                desk.submit_label(Rater(rater, "admin"), Answer(item, label, "it is to the point", "a better one"))
    return found


@pytest.fixture(scope="module")
def studio(root: Path) -> Iterator[StudioProcess]:
    running = start_studio(root, ["admin:Root"])
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


def list_addresses(root: Path) -> list[str]:
    """The addresses, with the first item of the queue."""
    first = read_queue(root / "rated", "q1").items[0].id
    return [address.replace("FIRST", first) for address in ADDRESSES]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(root: Path, studio: StudioProcess, browser: Browser, scheme: str) -> None:
    page = enter_as(browser, studio, "Root", scheme)
    found = []
    for address in list_addresses(root):
        page.goto(f"{studio.origin}{address}")
        found += find_axe_violations(page)
    page.get_by_role("button", name="Leave").click()
    assert found + find_axe_violations(page) == []


def test_axe_finds_what_is_wrong(studio: StudioProcess, browser: Browser) -> None:
    page = enter_as(browser, studio, "Root")
    page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<button></button><img src=x>')")
    assert len(find_axe_violations(page)) == 2


def test_a_phone_scrolls_no_page_sideways(root: Path, studio: StudioProcess, browser: Browser) -> None:
    page = enter_as(browser, studio, "Root")
    width, height = PHONE
    page.set_viewport_size({"width": width, "height": height})
    wide = []
    for address in list_addresses(root):
        page.goto(f"{studio.origin}{address}")
        taken = page.evaluate("document.documentElement.scrollWidth")
        wide += [(address, taken)] if taken > width else []
    assert wide == []


def test_a_refused_label_keeps_its_draft(root: Path, studio: StudioProcess, browser: Browser) -> None:
    (_, item, *_) = [item.id for item in read_queue(root / "rated", "q2").items]
    page = enter_as(browser, studio, "Root")
    address = f"{studio.origin}/runs/rated/reviews/q2/items/{item}"
    page.goto(address)
    page.keyboard.press("c")
    page.keyboard.type("not twice")
    page.keyboard.press("Escape")
    with ReviewDesk(root / "rated", "q2") as desk:
        desk.submit_label(Rater("Bo"), Answer(item, "approve"))
    page.keyboard.press("1")
    page.wait_for_selector("text=has its 1 raters")
    page.goto(address)
    assert page.get_by_label("Comment").input_value() == "not twice"
