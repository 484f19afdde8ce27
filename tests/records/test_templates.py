"""What is said to models, and what is read from their replies, however hostile or odd."""

from __future__ import annotations

import json
import random
import re
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.judging.judge_replies import read_verdict
from charter.judging.judge_requests import SideBySide, compare_request, judge_request
from charter.judging.reply_schemas import parse_json_object
from charter.judging.rubrics import CONDUCT, HELP, REPLAY, SHIPPED_RUBRICS, Rubric
from charter.records.chat import Sampling
from charter.records.record import canonical
from charter.records.rules import Norm
from charter.records.templates import Templates, draw_nonce, failure_text, fence_text, render, render_conversation
from tests.fakes.example_records import HOSTILE, STEP, done, finding, said, talk

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.text())
def test_filled_in_text_is_never_read_as_a_placeholder(one: str, two: str) -> None:
    assert render("<{one}|{two}>", {"one": one, "two": two}) == f"<{one}|{two}>"
    assert render("{one}", {"one": "{two}", "two": "secret"}) == "{two}"
    assert render("{other} {One} {}", {"one": one}) == "{other} {One} {}"


def test_fence_marks_are_new_for_each_call_and_again_the_same_in_a_repeated_step() -> None:
    marks = {draw_nonce(STEP.random(str(item))) for item in range(200)}
    assert len(marks) == 200
    assert all(re.fullmatch(r"[0-9a-f]{8}", m) for m in marks)
    assert draw_nonce(random.Random(1)) == draw_nonce(random.Random(1))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("rubric", [CONDUCT, HELP, REPLAY])
def test_a_judge_sees_prompt_and_response_whole_between_fences(text: str, rubric: Rubric) -> None:
    exchange = said(f"asked {text}", response=f"said {text}")
    request = judge_request(exchange, rubric, Templates(), STEP, Sampling())
    asked = request.messages[-1].content
    found = re.search(r"<prompt ([0-9a-f]{8})>\n", asked)
    assert found is not None
    fence = found.group(1)
    assert fence_text("prompt", exchange.prompt.last, fence) in asked
    assert fence_text("response", exchange.response, fence) in asked
    assert asked.count(f"</response {fence}>") == 1
    assert json.dumps(request.response_schema) in asked.splitlines()


def shared_beginning(one: str, two: str) -> str:
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


@pytest.mark.parametrize("rubric", [r for r in SHIPPED_RUBRICS.values() if r.template], ids=lambda rubric: rubric.name)
def test_what_is_fixed_comes_first_so_that_a_server_can_reuse_it(rubric: Rubric) -> None:
    """Instructions, policy, norms, menu and schema are one beginning; after the exchange stands one short line."""
    ruled = rubric.model_copy(update={"policy": "Be kind.", "norms": (Norm(id="n", text="Never lie.", holds=True),)})
    one, two = (
        judge_request(said(text, response=text), ruled, Templates(), STEP).messages[-1].content
        for text in ("How do I bake bread?", "Why is it dark at night?")
    )
    fixed = shared_beginning(one, two)
    assert all(f"- {label}: " in fixed for label in ruled.menu)
    assert "Never lie." in fixed
    assert "Be kind." in fixed or "{policy}" not in getattr(Templates(), rubric.template)
    assert (
        rubric.reply != "json"
        or json.dumps(judge_request(said("a"), ruled, Templates(), STEP).response_schema) in fixed
    )
    assert len(fixed) > 4 * len(one.partition("</response ")[2])


@pytest.mark.parametrize("rule", ["", "Never lie."])
def test_comparisons_share_their_beginning_too(rule: str) -> None:
    one, two = (
        compare_request(text, SideBySide(said(text).prompt, (text, "no"), rule), Templates(), STEP)
        for text in ("How?", "Why?")
    )
    fixed = shared_beginning(*(request.messages[-1].content for request in (one, two)))
    assert json.dumps(one.response_schema) in fixed
    assert rule in fixed


def test_a_menu_is_closed_and_its_labels_have_outcomes() -> None:
    for rubric in (CONDUCT, HELP, REPLAY):
        request = judge_request(said("a"), rubric, Templates(), STEP, Sampling())
        assert request.response_schema is not None
        assert set(request.response_schema["properties"]["label"]["enum"]) == set(rubric.menu) == set(rubric.outcomes)
        for label, outcome in rubric.outcomes.items():
            assert read_verdict(done(json.dumps({"label": label})), rubric).outcome == outcome
            assert f"- {label}: " in request.messages[-1].content
        assert {"violates", "complies"} == set(rubric.outcomes.values())


def test_two_exchanges_and_two_rubrics_have_different_fences() -> None:
    asked = [
        judge_request(said(text), rubric, Templates(), STEP, Sampling()) for text in "ab" for rubric in (CONDUCT, HELP)
    ]
    fences = [re.findall(r"<prompt ([0-9a-f]{8})>", request.messages[-1].content) for request in asked]
    assert len({f for found in fences for f in found}) == 4


def test_conversations_and_failures_are_shown_whole() -> None:
    assert render_conversation(talk("one turn")) == "one turn"
    assert render_conversation(talk("a", "b", "c")) == "user: a\nassistant: b\nuser: c"
    text = failure_text(finding("asked", response="said"), "00000000")
    assert text.splitlines()[0] == "<failure 00000000>"
    assert fence_text("prompt", "asked", "00000000") in text
    assert fence_text("response", "said", "00000000") in text


@given(
    st.dictionaries(st.text(), json_values, max_size=4),
    st.sampled_from(["", "Sure:\n```json\n", "Well {so} ", "[", "} "]),
)
def test_an_object_is_read_bare_fenced_or_among_words(value: dict[str, object], before: str) -> None:
    read = parse_json_object(f"{before}{json.dumps(value)} and that is all ```")
    assert read == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot judge that.",
        "{",
        "{]}",
        '{"label": "harmful"',
        '["harmful"]',
        '"harmful"',
        "{'label': 'harmful'}",
        '{"a":' * 3000,
        '{"severity": ' + "1" * 5000 + "}",
        '{"label": "harmful", "rationale": "half a pair \\ud83d"}',
    ],
)
def test_what_cannot_be_read_is_unjudged_and_never_an_error(text: str) -> None:
    assert parse_json_object(text) is None
    verdict = read_verdict(done(text), CONDUCT)
    assert (verdict.label, verdict.outcome, verdict.raw) == (None, "unjudged", text)


@pytest.mark.parametrize(
    "label",
    ["", None, 1, True, ["harmful"], {"harmful": 1}, "answered", "harmful or acceptable"],
)
def test_a_label_off_the_menu_is_unjudged(label: object) -> None:
    verdict = read_verdict(done(json.dumps({"label": label, "severity": 3, "rationale": "so"})), CONDUCT)
    assert (verdict.label, verdict.outcome, verdict.rationale) == (None, "unjudged", "")


@pytest.mark.parametrize("label", ["Harmful", "harmful ", "HARMFUL"])
def test_the_case_of_a_label_and_blanks_around_it_do_not_count(label: str) -> None:
    verdict = read_verdict(done(json.dumps({"label": label, "severity": 3, "rationale": "so"})), CONDUCT)
    assert (verdict.label, verdict.outcome, verdict.severity, verdict.rationale) == ("harmful", "violates", 3, "so")


@pytest.mark.parametrize(
    ("severity", "read"),
    [(2, 2), (0, 0), (2.0, 2), ("2", 2), (9, None), (-1, None), (1.5, None), (None, None), (True, None), ([], None)],
)
def test_a_severity_off_its_scale_is_absent(severity: object, read: int | None) -> None:
    reply = json.dumps({"rationale": "it helps a thief", "label": "harmful", "severity": severity})
    verdict = read_verdict(done(reply), CONDUCT)
    assert (verdict.label, verdict.outcome, verdict.severity) == ("harmful", "violates", read)
    assert verdict.rationale == "it helps a thief"


@given(json_values, json_values, json_values)
def test_any_json_gives_a_verdict_that_can_be_kept(label: object, severity: object, rationale: object) -> None:
    verdict = read_verdict(done(json.dumps({"label": label, "severity": severity, "rationale": rationale})), CONDUCT)
    assert verdict.outcome == "unjudged" or label in CONDUCT.menu
    assert canonical(verdict).encode()


def test_half_a_surrogate_pair_in_a_reply_can_be_kept() -> None:
    completion = done("half \ud83d", error="\udc00")
    assert canonical(completion).encode()
    assert canonical(read_verdict(completion, CONDUCT)).encode()


def test_an_error_is_unjudged_with_its_message_kept() -> None:
    verdict = read_verdict(done("", error="timed out"), CONDUCT)
    assert (verdict.outcome, verdict.raw) == ("unjudged", "timed out")


def test_a_schema_that_was_filled_in_is_read_as_what_was_filled_in() -> None:
    """As Qwen2.5-Coder-1.5B-Instruct replied to 15 of 18 requests for a rule."""
    filled = {"title": "Plans", "text": "Do not plan crimes.", "scope": "plans"}
    for text in (
        json.dumps({"type": "object", "properties": filled}),
        f'```json\n{{"properties": {json.dumps(filled)}, "type": "object"}}\n```',
    ):
        assert parse_json_object(text) == filled
    assert parse_json_object('{"type": "object", "properties": "none"}') == {"type": "object", "properties": "none"}
