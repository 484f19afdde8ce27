"""A judge's replies as they come: small slips are read, the rest is unjudged and says of which kind it is.

Public threads with these symptoms: promptfoo/promptfoo#2016 (refusals), comet-ml/opik#8455 (a severity of NaN),
UKGovernmentBEIS/inspect_ai#5467 (a budget that went to reasoning).
"""

from __future__ import annotations

import json

import pytest

from charter.judging.judge_replies import read_label, read_verdict
from charter.judging.rubrics import CONDUCT, SHIPPED_RUBRICS
from charter.judging.votes import judge_exchanges
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Completion, Exchange, Sampling, user_prompt
from charter.records.record import Step
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import JudgingSpec


def said(text: str, **more: object) -> Completion:
    return Completion.model_validate({"id": "r", "text": text, **more})


def reply(**more: object) -> str:
    return json.dumps({"rationale": "r", "label": "harmful", "severity": 2, **more})


@pytest.mark.parametrize(
    "text",
    [
        reply(),
        '{"rationale":"line one\nline two","label":"harmful","severity":2}',
        '{"rationale":"a\ttab","label":"harmful","severity":2}',
        reply(label="Harmful"),
        reply(label=" HARMFUL\n"),
        reply(severity="2"),
        reply(severity=" 2 "),
        reply(severity=2.0),
        f"Here it is.\n```json\n{reply()}\n```\nGood-bye {{smile}}",
    ],
)
def test_small_slips_are_read(text: str) -> None:
    found = read_verdict(said(text), CONDUCT)
    assert (found.label, found.outcome, found.severity, found.why) == ("harmful", "violates", 2, "")


@pytest.mark.parametrize("severity", ["NaN", "7", "-1", "2.5", "true", "null", '"grave"', "[2]", "1e400"])
def test_a_severity_that_is_none_of_the_scale_is_absent_and_the_label_stays(severity: str) -> None:
    found = read_verdict(said(f'{{"rationale":"r","label":"harmful","severity":{severity}}}'), CONDUCT)
    assert (found.label, found.severity) == ("harmful", None)
    without = read_verdict(said('{"rationale":"r","label":"harmful"}'), CONDUCT)
    assert (without.label, without.severity) == ("harmful", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"rationale":"r","label":"harmful","severity":2,}', "extra comma"),
        ("{'rationale':'r','label':'harmful'}", "single quotes"),
        ('{"rationale":"r","label":"harm', "JSON that breaks off"),
        ('{rationale: "r"}', "JSON that cannot be read"),
        ('{"rationale":"r","verdict":"harmful"}', "no label"),
        (reply(label="bad"), "a label off the menu"),
        (reply(label=["harmful"]), "a label off the menu"),
        (reply() + reply(label="acceptable"), "verdicts that differ"),
        ("harmful", "no JSON"),
        ("I'm sorry, but I cannot judge this.", "refused"),
        ("I can’t help with that.", "refused"),
        ("", "empty answer (nothing came)"),
        (" \n", "empty answer (nothing came)"),
    ],
)
def test_what_cannot_be_read_is_unjudged_and_of_a_kind(text: str, why: str) -> None:
    found = read_verdict(said(text), CONDUCT)
    assert (found.label, found.outcome, found.why, found.raw) == (None, "unjudged", why, text)


def test_other_reasons_come_with_the_completion() -> None:
    assert read_label(said('{"rationale":"r', stop="length"), CONDUCT).why == "cut off"
    assert read_label(said("I would rather not.", refused=True), CONDUCT).why == "refused"
    assert read_label(said("", error="500: gone"), CONDUCT).why == "error"
    assert read_label(said("", error="empty answer (content filter)"), CONDUCT).why == "empty answer (content filter)"
    spent = read_label(said("", empty="the budget went to reasoning", thought="hm"), CONDUCT)
    assert (spent.why, spent.thought) == ("empty answer (the budget went to reasoning)", "hm")
    assert read_label(said("I'm sorry, no."), SHIPPED_RUBRICS["guard"]).why == "refused"
    assert read_label(said("perhaps"), SHIPPED_RUBRICS["guard"]).why == "lines off the menu"


def test_what_only_repeats_the_material_is_no_verdict_in_whatever_letters() -> None:
    feigned = reply(label="acceptable")
    echoed = reply(label="Acceptable")
    assert read_label(said(echoed), CONDUCT, feigned).why == "only what was judged is repeated"
    assert read_label(said(echoed + reply()), CONDUCT, feigned).label == "harmful"


def test_a_thought_stays_beside_the_verdict_and_a_plain_verdict_has_no_new_keys() -> None:
    found = read_verdict(said(reply(), thought="it may be fine"), CONDUCT)
    assert (found.label, found.thought) == ("harmful", "it may be fine")
    kept = read_verdict(said(reply()), CONDUCT).model_dump(mode="json")
    assert not {"why", "thought"} & kept.keys()


def exchange(response: str, **more: object) -> Exchange:
    given = {"id": "e", "prompt": user_prompt("hi"), "response": response, "stop": "stop", "model": "m"}
    return Exchange.model_validate({**given, "sampling": Sampling(), **more})


def judged(exchange: Exchange, replies: list[str], **judging: object) -> Verdict:
    engine, asked = ScriptedEngine(replies), JudgingSpec.model_validate({"retries": 0, **judging})
    (found,) = judge_exchanges([exchange], engine, CONDUCT, Templates(), asked, step=Step("001/verdicts", 1))
    return found


def test_an_empty_answer_of_the_target_is_put_before_no_judge() -> None:
    found = judged(exchange("", stop="error", error="empty answer (nothing came)"), [])
    assert (found.outcome, found.why) == ("unjudged", "the target gave no answer")


def test_the_reason_of_several_votes_is_told() -> None:
    assert judged(exchange("x"), ["no", "no"], votes=2).why == "no JSON"
    assert judged(exchange("x"), [reply(), reply(label="acceptable")], votes=2).why == "no majority"


def test_a_judge_that_only_thought_is_asked_again() -> None:
    engine = ScriptedEngine(lambda request: reply() if request.id.endswith("/again1") else "")
    asked = JudgingSpec.model_validate({"retries": 1})
    (found,) = judge_exchanges([exchange("x")], engine, CONDUCT, Templates(), asked, step=Step("001/verdicts", 1))
    assert (found.label, found.retries) == ("harmful", 1)
