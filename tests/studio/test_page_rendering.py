"""Hostile text of models and users: no element and no attribute of any page comes of it."""

from __future__ import annotations

import json
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.studio.page_rendering import make_link, read_page_number, shorten_value
from tests.fakes.recorded_run import Tale, tell
from tests.fakes.studio_client import Browser, enter, open_studio, read_markup

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

OPENINGS = (
    "",
    '"',
    "'",
    "`",
    '">',
    "'>",
    "-->",
    "</title>",
    "</textarea>",
    "</script>",
    "</style>",
    "</option>",
    "</datalist>",
    "]]>",
    '\\"',
    "{{ 7*7 }}",
    "{% raw %}",
    "${1}",
    "&quot;>",
    "&#34;>",
    "\x00",
    "\u2028",
)
ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>1</script>'>",
    " onmouseover=alert(1) x=",
    "<a href='javascript:alert(1)'>x</a>",
    "<b hx-get='/leave' hx-trigger='load'>x</b>",
    "<form action='/leave' method=post><button>x",
    "<style>*{display:none}</style>",
    "<base href='http://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<!--",
    "<math><mtext><img src=x>",
    "\x1b]0;x\x07\u202e<x>",
)
PAYLOADS = [opening + attack for opening, attack in product(OPENINGS, ATTACKS)]
READ = (
    "/",
    "/runs/one",
    "/runs/one/constitution",
    "/runs/one/rules/p-1",
    "/runs/one/answers",
    "/runs/one/steps/001/exchanges",
    "/runs/one/steps/001/exchanges/x1",
    "/runs/one/steps/001/findings",
    "/runs/one/steps/001/verdicts/x2",
    "/runs/one/steps/001/revisions/x3",
    "/runs/one/steps/001/clusters/c1",
    "/runs/one/steps/001/constitution/@1",
    "/runs/one/steps/001/proposals",
    "/runs/one/steps/001/kept/x4",
    "/runs/one/steps/001/lookalikes/c1",
)
RAW = ("\x00", "\x1b", "\x07", "\u202e")


def disarm(text: str) -> str:
    """A text of the same length and the same spaces in which nothing means anything."""
    return "".join(c if c.isalnum() or c.isspace() else chr(ord("a") + (ord(c) + n) % 26) for n, c in enumerate(text))


def take_turns(change: Callable[[str], str]) -> Callable[[str], str]:
    turns = cycle(PAYLOADS)
    return lambda name: change(f"{next(turns)} {name}")


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Browser]:
    """The same run twice: with hostile texts, and with their harmless twins."""
    found = {}
    for name, change in (("hostile", str), ("harmless", disarm)):
        root = tmp_path_factory.mktemp(name)
        tell(root / "one", Tale(words=take_turns(change), failures=40))
        found[name] = enter(open_studio(root), "admin" * 8)
    return found


def test_there_are_enough_payloads() -> None:
    assert len(set(PAYLOADS)) >= 300
    assert disarm("<b> x") == "".join((disarm("<b> x")[:3], " x"))
    assert not set(disarm("".join(PAYLOADS))) & set("<>\"'&=/")


@pytest.mark.parametrize("path", READ)
def test_hostile_texts_make_no_element_and_no_attribute(browsers: dict[str, Browser], path: str) -> None:
    page, twin = browsers["hostile"].read(path), browsers["harmless"].read(path)
    tags, values = read_markup(page)
    assert tags == read_markup(twin)[0]
    assert [value for name, value in values if name in ("href", "src", "action") and ":" in value.split("/")[0]] == []
    assert set(RAW) & set(page) == set()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    root = tmp_path_factory.mktemp("named")
    for payload in PAYLOADS:
        if "/" not in payload and "\x00" not in payload and len(payload) < 80:
            tell_quickly(root / payload)
    return open_studio(root)


def tell_quickly(directory: Path) -> None:
    """A folder that looks like a run, and is none that can be read."""
    directory.mkdir()
    (directory / "journal.jsonl").write_text(json.dumps({"event": directory.name}) + "\n", encoding="utf-8")


def test_hostile_names_of_runs_make_no_element(app: FastAPI) -> None:
    page = enter(app, "admin" * 8).read("/")
    tags, values = read_markup(page)
    names = {tag for tag, _ in tags}
    assert not names & {"img", "svg", "iframe", "b", "style", "base", "math", "mtext", "x"}
    assert [name for name, _ in values if name.startswith(("on", "srcdoc"))] == []
    links = [value for name, value in values if name == "href" and value.startswith("/runs/")]
    assert len(links) == 50
    assert all(not set(link) & set("<>\"'` ") for link in links)


def test_hostile_words_of_an_address_make_no_element(browsers: dict[str, Browser]) -> None:
    client, twin = browsers["hostile"].client, browsers["harmless"].client
    paths = {
        "/runs/one/steps/001/exchanges": ("q", "field", "value"),
        "/runs/one/constitution": ("done",),
        "/runs/one/answers": ("only", "page"),
        "/compare": ("run",),
    }
    for path, names in paths.items():
        for payload in PAYLOADS[::7]:
            answers = [
                browser.get(path, params=dict.fromkeys(names, change(payload)))
                for browser, change in ((client, str), (twin, disarm))
            ]
            assert {tag for tag, _ in read_markup(answers[0].text)[0]} == {
                tag for tag, _ in read_markup(answers[1].text)[0]
            }, payload
            assert set(RAW) & set(answers[0].text) == set()


def test_a_wrong_address_and_a_wrong_token_make_no_element(browsers: dict[str, Browser]) -> None:
    client = browsers["hostile"].client
    for payload in PAYLOADS[::11]:
        for answer in (client.get(make_link("runs", payload)), client.get(make_link("enter", token=payload))):
            names = {tag for tag, _ in read_markup(answer.text)[0]}
            assert not names & {"img", "svg", "iframe", "b", "style", "base", "math", "x"}
            assert answer.status_code in (403, 404, 429)


def test_links_are_made_of_single_segments() -> None:
    assert make_link("runs", "a/b", "ü?#") == "/runs/a%2Fb/%C3%BC%3F%23"
    assert make_link("runs", q="a&b", page=2, none="") == "/runs?q=a%26b&page=2"
    assert make_link(page=2) == "/?page=2"


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), ("0", 1), ("-1", 1), ("x", 1), ("²", 1), ("9" * 30, 1), ("", 1)]
)
def test_a_page_number_is_read_from_anything(text: str, number: int) -> None:
    assert read_page_number(text) == number


def test_a_field_is_told_in_a_few_words() -> None:
    exchange = {"id": "x", "prompt": {"id": "p", "messages": [{"role": "user", "content": "why?"}]}, "response": "so"}
    assert shorten_value(exchange) == "why? → so"
    assert shorten_value({"id": "f", "exchange": exchange}) == "why? → so"
    assert shorten_value([{"text": "a"}] * 5) == "a / a / a (+2)"
    assert shorten_value(["a", 1]) == '["a", 1]'
    assert shorten_value("a\n b" * 100).endswith("…")
    assert shorten_value(None) == "null"
