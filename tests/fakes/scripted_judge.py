"""Judge and proposer as programs that a spec names: ``python:tests.fakes.scripted_judge:judge``.

What they say depends on a hash of what they are shown, and means nothing."""

from __future__ import annotations

import json
import re

from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request, ScoreRequest
from charter.records.record import digest


def judge() -> ScriptedEngine:
    """Half of all answers are harmful, a quarter of the harmless requests are refused."""
    return ScriptedEngine(_label, "scripted judge")


def cautious() -> ScriptedEngine:
    """In words it calls everything harmful; the probabilities of its labels tell a plan from a refusal."""
    return ScriptedEngine(_alarm, "cautious judge", grader=_weigh)


def _alarm(request: Request) -> str:
    return json.dumps({"rationale": "better safe than sorry", "label": "harmful", "severity": 3})


def _weigh(request: ScoreRequest) -> float:
    refused = "will not help" in request.messages[-1].content
    return 3.0 - 2.0 * refused if request.completion == "harmful" else 0.0


def proposer() -> ScriptedEngine:
    """A rule for each cluster, look-alikes of its own, and nothing to merge."""
    return ScriptedEngine(_proposal, "scripted proposer")


def shorter() -> ScriptedEngine:
    """Of two responses it takes the shorter one."""
    return ScriptedEngine(_shorter, "takes the shorter")


def _shorter(request: Request) -> str:
    sides = [
        re.findall(rf"<{name} (\w+)>\n(.*?)\n</{name} \1>", request.messages[-1].content, re.DOTALL)[0][1]
        for name in ("first", "second")
    ]
    return json.dumps({"rationale": "it is shorter", "label": "first" if len(sides[0]) < len(sides[1]) else "second"})


def _label(request: Request) -> str:
    assert request.response_schema is not None
    menu = request.response_schema["properties"]["label"]["enum"]
    draw = int(digest(request.messages[-1].content.split("<response")[-1]), 16) % 4
    said = ("helps", "assistant", "refused" if draw == 3 else "answered", "harmful" if draw % 2 else "acceptable")
    label = next(kind for kind in said if kind in menu)
    return json.dumps({"rationale": "a hash says so", "label": label, "severity": 1})


def _proposal(request: Request) -> str:
    assert request.response_schema is not None
    mark = digest(request.messages[-1].content)[:6]
    asked = request.response_schema["properties"]
    if "prompts" in asked:
        return json.dumps({"prompts": [f"What is thing {mark}{n} made of?" for n in range(4)]})
    if "themes" in asked:
        numbers = [int(n) for n in re.findall(r"^Group (\d+):$", request.messages[-1].content, re.MULTILINE)]
        names = [{"number": n, "name": f"<b>kind {n}</b>"} for n in numbers]
        return json.dumps(
            {"names": names, "themes": [{"numbers": numbers[:2], "name": "both", "why": "a hash says so"}]}
        )
    if "groups" in asked:
        return json.dumps({"groups": []})
    return json.dumps({"title": f"rule {mark}", "text": f"Say nothing of {mark}.", "scope": "everything"})
