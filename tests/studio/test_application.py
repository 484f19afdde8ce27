"""Every page of the studio on a recorded run: what it shows, and that it needs no script and no network."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request
from tests.fakes.recorded_run import Tale, tell
from tests.fakes.studio_client import Browser, enter, open_studio, read_markup
from tests.jobs.test_audit_job import play

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGES = {
    "/": ["one", "iteralign", "finished", "25.0%", "75.0%"],
    "/runs/one": ["Held-out, before and after", "Scores on gate", "over refusal", "failed", "1 of 90 revisions pass"],
    "/runs/one/report": ["<style>", "iteralign"],
    "/runs/one/constitution": ["the words of rule 1", "useful: mends 9 of 10", "6 failing answers", "not measured"],
    "/runs/one/rules/p-1": ["Why p-1 exists", "the words of answer x0", "6 failing answers that caused it"],
    "/runs/one/answers": ["Starting model", "Aligned model", "harmlessness: yes, better", "over refusal: yes, worse"],
    "/runs/one/answers?only=worse": ['id="pair-h10"'],
    "/runs/one/live": ["last event"],
    "/runs/one/chat": ["Nothing is kept."],
    "/runs/one/reviews": ["No queue yet.", "A new queue"],
    "/runs/one/data": ["Nothing is on record.", "redteam", "world"],
    "/runs/one/lineage/001/findings/x1": [
        "001/exchanges",
        "001/revisions",
        "the words of rule 1",
        "the words of answer",
    ],
    "/runs/one/lineage/001/rows/x1": ["the words of row", "In no training set.", "001/kept"],
    "/runs/one/lineage/001/constitution/@1": ["What came of it"],
    "/runs/one/steps/001/exchanges": ["Sealed: 6 of type Exchange;", "what this page shows is as it was sealed", "x5"],
    "/runs/one/steps/001/exchanges/x1": ["the words of answer x1", "It is as it was sealed", 'rel="next"'],
    "/runs/one/steps/001/constitution/@1": ["the words of rule 1"],
    "/runs/one/steps/001/verdicts?field=label&value=harmful": ["6 of 7 records"],
    "/runs/one/steps/001/verdicts?q=UNJUDGED": ["1 of 7 records", "x-odd"],
    "/compare?run=one&run=two": ["On the same held-out prompts", "harmlessness, after"],
    "/audits": ["No audit is here"],
    "/start": ["iteralign-paper"],
}
"""Addresses, with what must stand there."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    root = tmp_path_factory.mktemp("runs")
    tell(root / "one")
    tell(root / "two", Tale(outcomes=(0.25, 0.5)))
    tell(root / "under-way", Tale(finished=False))
    (root / "linked").symlink_to(root / "one")
    (root / "notes").mkdir()
    return open_studio(root)


@pytest.fixture(scope="module")
def admin(app: FastAPI) -> Browser:
    return enter(app, "admin" * 8)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_what_the_run_holds(admin: Browser, path: str) -> None:
    page = admin.read(path)
    missing = [text for text in PAGES[path] if text not in page]
    assert missing == []


@pytest.mark.parametrize("path", [path for path in PAGES if not path.endswith("report")])
def test_a_page_has_no_inline_script_or_style_and_is_labelled(admin: Browser, path: str) -> None:
    page = admin.read(path)
    tags, values = read_markup(page)
    names = [tag for tag, _ in tags]
    assert "style" not in names
    assert [name for name, _ in values if name.startswith("on") or name == "style"] == []
    assert [value for name, value in values if name == "src"] == ["/static/htmx.min.js", "/static/studio.js"]
    assert [value for name, value in values if name in ("href", "action") and not value.startswith(("/", "#"))] == []
    assert names.count("h1") == names.count("main") == 1
    assert names.count("html") == names.count("head") == 1
    assert ("html", ("lang",)) in tags
    unlabelled = re.findall(
        r"<(?:input|select|textarea)[^>]*>", re.sub(r"<label>.*?</label>", "", page, flags=re.DOTALL)
    )
    assert [field for field in unlabelled if 'type="hidden"' not in field] == []


def test_only_runs_of_the_folder_are_listed_and_links_are_not(admin: Browser) -> None:
    page = admin.read("/")
    assert [name for name in ("one", "two", "under-way") if f'href="/runs/{name}"' not in page] == []
    assert "linked" not in page
    assert "notes" not in page
    admin.read("/runs/linked", 404)


def test_a_run_that_is_not_finished_says_so(admin: Browser) -> None:
    page = admin.read("/runs/under-way")
    assert "its process ended" in page
    assert 'data-events="/runs/under-way/events"' in page
    assert "Go on with this run" in page


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/runs/none", "/runs/one/rules/p-99", "/runs/one/steps/001/none", "/compare?run=one&run=none"),
        "/runs/one/lineage/001/findings/x99",
        *(f"/runs/one/steps/001/exchanges/{key}" for key in ("x99", "@0", "@7")),
    ],
)
def test_what_is_not_there_is_said(admin: Browser, path: str) -> None:
    assert "Not Found" in admin.read(path, 404)


def test_what_is_not_ours_has_its_licence_beside_it() -> None:
    folder = resources.files("charter.studio").joinpath("static")
    names = {file.name for file in folder.iterdir()}
    assert names == {"htmx.min.js", "htmx.LICENSE.txt", "studio.css", "studio.js"}
    assert "Zero-Clause BSD" in folder.joinpath("htmx.LICENSE.txt").read_text(encoding="utf-8")


def test_a_changed_record_is_shown_as_changed(tmp_path: Path) -> None:
    run = tell(tmp_path / "one")
    file = run / "001" / "exchanges.jsonl"
    file.write_bytes(file.read_bytes().replace(b"the words of answer x2", b"the words of another 2"))
    viewer = enter(open_studio(tmp_path), "viewer" * 8)
    assert "Records on this page are not what the seal says: line 3." in viewer.read("/runs/one/steps/001/exchanges")
    assert "This record is not what the seal says" in viewer.read("/runs/one/steps/001/exchanges/x2")
    assert "It is as it was sealed" in viewer.read("/runs/one/steps/001/exchanges/x1")


def test_a_damaged_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    tell(tmp_path / "well")
    bad = tell(tmp_path / "bad") / "journal.jsonl"
    bad.write_bytes(bad.read_bytes().replace(b'"sealed"', b'"stolen"', 1))
    viewer = enter(open_studio(tmp_path), "viewer" * 8)
    assert "damaged" in viewer.read("/")
    assert "line" in viewer.read("/runs/bad", 500)
    viewer.read("/runs/well")


def test_a_runs_own_folder_can_be_served(tmp_path: Path) -> None:
    viewer = enter(open_studio(tell(tmp_path / "one")), "viewer" * 8)
    assert 'href="/runs/one"' in viewer.read("/")
    viewer.read("/runs/one/answers")


def test_the_steps_of_a_chain_are_runs(tmp_path: Path) -> None:
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "spec.yaml").write_text("version: 1\n", encoding="utf-8")
    tell(tmp_path / "chain" / "1-first")
    viewer = enter(open_studio(tmp_path), "viewer" * 8)
    assert 'href="/runs/chain~1-first"' in viewer.read("/")
    assert "chain~1-first" in viewer.read("/runs/chain~1-first")


def test_strange_ids_have_links_that_lead_to_them(tmp_path: Path) -> None:
    run = tell(tmp_path / "one", Tale(finished=False))
    lines = [{"id": id, "text": f"of {n}"} for n, id in enumerate(["a/b|c", "../..", "@5", "é ?#%", "", 'x"><b>'])]
    (run / "001" / "rechecks.jsonl").unlink()
    (run / "001" / "rechecks.seal.json").unlink()
    journal = run / "journal.jsonl"
    events = [line for line in journal.read_bytes().splitlines(keepends=True)]
    cut = next(n for n, line in enumerate(events) if b'"sealed"' in line and b"001/rechecks" in line)
    journal.write_bytes(b"".join(events[:cut]))
    (run / "001" / "rechecks.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n" for line in lines),
        encoding="utf-8",
    )
    viewer = enter(open_studio(tmp_path), "viewer" * 8)
    _, values = read_markup(viewer.read("/runs/one/steps/001/rechecks"))
    links = [value for name, value in values if name == "href" and value.startswith("/runs/one/steps/001/rechecks/")]
    assert len(links) == 6
    told = [f"of {n}" in viewer.read(link) for n, link in enumerate(links)]
    assert told == [True] * 6


def test_audits_stand_side_by_side_in_time(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        return f"yes {request.messages[-1].content.split()[-1]}"

    play(tmp_path / "audit", ScriptedEngine(answer))
    tell(tmp_path / "one")
    viewer = enter(open_studio(tmp_path), "viewer" * 8)
    page = viewer.read("/audits")
    missing = [
        text
        for text in ("drift. No arson (broken)", "Drift over time", "kept", "No fraud &lt;b&gt;")
        if text not in page
    ]
    assert missing == []
    assert "Both sides on the same prompts" in viewer.read("/runs/audit")
    assert "is an audit" in viewer.read("/compare?run=audit&run=one", 400)
