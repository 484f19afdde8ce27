"""What a run draws, and what it never draws; how prompts are answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.errors import SpecError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Sampling, user_prompt
from charter.records.record import Step
from charter.similarity.splits import LeakageFilter
from charter.spec import DrawSpec
from charter.stages.draw import draw, exclude_protected
from charter.stages.probe import probe
from tests.fakes.example_records import STEP, Recorder, talk

PROMPTS = [user_prompt(f"question {n} about thing {n * 7}") for n in range(30)]
NOBODY = LeakageFilter((), 0.8)


def test_uniform_is_a_permutation_that_the_run_seed_decides() -> None:
    uniform = DrawSpec(order="uniform")
    first = draw(PROMPTS, NOBODY, uniform, step=STEP)
    assert sorted(p.id for p in first) == sorted(p.id for p in PROMPTS)
    assert first != PROMPTS
    assert first == draw(PROMPTS, NOBODY, uniform, step=STEP)
    assert first != draw(PROMPTS, NOBODY, uniform, step=Step(path=STEP.path, run_seed=8))


def test_file_order_is_the_order_given() -> None:
    assert draw(PROMPTS, NOBODY, DrawSpec(order="file"), step=STEP) == PROMPTS


def test_what_is_close_to_gate_or_heldout_is_never_drawn() -> None:
    kept = user_prompt("how do i bake a very large cake for ten people at home tonight")
    near = user_prompt("How do I bake a very large cake for ten people at home tonight?")
    for order in ("uniform", "file"):
        drawn = draw([near, *PROMPTS], LeakageFilter([kept], 0.8), DrawSpec.model_validate({"order": order}), step=STEP)
        assert near not in drawn
        assert len(drawn) == len(PROMPTS)
    assert exclude_protected([near, kept], LeakageFilter([kept], 0.8)) == []


def test_an_id_that_occurs_twice_is_an_error() -> None:
    with pytest.raises(SpecError, match=PROMPTS[0].id):
        exclude_protected([*PROMPTS, PROMPTS[0]], NOBODY)
    assert exclude_protected([], NOBODY) == []


@given(st.sets(st.integers(0, 29)))
def test_a_permutation_of_fewer_is_no_reordering_by_position(left: set[int]) -> None:
    prompts = [p for n, p in enumerate(PROMPTS) if n in left]
    assert {p.id for p in draw(prompts, NOBODY, DrawSpec(), step=STEP)} == {p.id for p in prompts}


def test_a_probe_answers_each_prompt_under_its_id_with_a_seed_of_its_own() -> None:
    engine, sampling = Recorder(lambda r: f"to {r.id}", shuffle=3), Sampling(temperature=1.0, max_tokens=9)
    conversation = talk("a", "b", "c")
    exchanges = {e.id: e for e in probe([*PROMPTS, conversation], engine, sampling, step=STEP)}
    assert exchanges.keys() == {*(p.id for p in PROMPTS), "talk"}
    assert all(e.response == f"to {e.id}" and e.model == engine.identity for e in exchanges.values())
    assert exchanges["talk"].prompt == conversation
    assert {r.seed for r in engine.asked} == {STEP.seed(r.id) for r in engine.asked}
    assert len({r.seed for r in engine.asked}) == 31
    assert {r.sampling for r in engine.asked} == {sampling}
    assert next(r for r in engine.asked if r.id == "talk").messages == conversation.messages


def test_what_is_done_is_not_probed_again_and_does_not_change_the_rest() -> None:
    engine = ScriptedEngine(lambda r: str(r.seed))
    whole = {e.id: e for e in probe(PROMPTS, engine, Sampling(), step=STEP)}
    done = frozenset(p.id for p in PROMPTS[:20])
    rest = list(probe(PROMPTS, engine, Sampling(), step=Step(path=STEP.path, run_seed=7, done=done)))
    assert [e.id for e in rest] == [p.id for p in PROMPTS[20:]]
    assert all(whole[e.id] == e for e in rest)
    assert engine.calls == 40


def test_a_failed_answer_is_an_error_and_no_answer() -> None:
    engine = ScriptedEngine("x", fails=lambda request: request.id == PROMPTS[0].id)
    failed, fine = probe(PROMPTS[:2], engine, Sampling(), step=STEP)
    assert (failed.stop, failed.response) == ("error", "")
    assert (fine.stop, fine.response) == ("stop", "x")
