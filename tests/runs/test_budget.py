"""The budget of a whole run: calls, tokens, money and hours; at a limit it pauses, and a larger one takes it on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from charter.errors import BudgetError, SpecError
from charter.ports import Engine, SupportsDrain
from charter.records.chat import Completion, Request
from charter.reports.costs import bill_text, read_costs, sum_by_role
from charter.runs import Run
from charter.runs.spending import Spending
from charter.spec import Budget, parse_spec
from charter.wiring import role_models
from charter.wiring.components import Components
from tests.fakes.scripted_run import WORDS, begin, echo, play, probe, reply, substance

PRICE = (2.0, 10.0)


@dataclass
class Streaming:
    """An engine with four answers under way at once, which can be drained."""

    identity: str = "streaming"
    asked: list[str] = field(default_factory=list)
    stopped: bool = False

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        self.stopped, todo = False, [request for request in requests if request.id not in done]
        while todo and not self.stopped:
            under_way, todo = todo[:4], todo[4:]
            self.asked += [request.id for request in under_way]
            for request in under_way:
                yield Completion(id=request.id, text=reply(request), tokens_in=100, tokens_out=10)

    def score(self, requests: object, done: object = ()) -> Iterator[object]:
        yield from ()

    def close(self) -> None: ...

    def drain(self) -> None:
        self.stopped = True


def judged(run: Run, engine: Engine) -> list[str]:
    """A step of six calls, each of 110 tokens and 0.0003 of money."""
    metered = run.meter_engine(engine, "judge", "aligning", PRICE)
    return [answer.reply for answer in run.steps("000").map("verdicts", probe, WORDS, metered)]


@pytest.mark.parametrize("limit", [{"tokens": 250}, {"money": 0.0007}])
def test_at_the_limit_what_is_under_way_is_kept_and_a_larger_budget_goes_on(
    limit: dict[str, float], tmp_path: Path
) -> None:
    engine = Streaming()
    assert isinstance(engine, SupportsDrain)
    with begin(tmp_path / "peace") as run:
        expected = judged(run, Streaming())  # type: ignore[arg-type]
    (key,) = limit
    with (
        begin(tmp_path / "run", budget=Budget.model_validate(limit)) as run,
        pytest.raises(BudgetError, match=rf"spent.*\n.*charter resume RUN --set budget\.{key}=N"),
    ):
        judged(run, engine)  # type: ignore[arg-type]
    assert len(engine.asked) == 4
    assert len((tmp_path / "run/000/verdicts.jsonl").read_text().splitlines()) == 4
    with (
        begin(tmp_path / "run", budget=Budget.model_validate(limit)) as run,
        pytest.raises(BudgetError, match="spent"),
    ):
        judged(run, engine)  # type: ignore[arg-type]
    with begin(tmp_path / "run", budget=Budget.model_validate({key: 10**6})) as run:
        assert judged(run, engine) == expected  # type: ignore[arg-type]
    assert engine.asked == [word.id for word in WORDS]
    assert substance(tmp_path / "run") == substance(tmp_path / "peace")


def test_an_engine_that_cannot_be_drained_is_left_at_once(tmp_path: Path) -> None:
    engine = echo()
    with begin(tmp_path / "run", budget=Budget(tokens=1)) as run, pytest.raises(BudgetError, match="tokens"):
        judged(run, engine)
    assert engine.calls == 1
    with begin(tmp_path / "run", budget=Budget(tokens=1)) as run:
        paused = [e["step"] for e in run._journal.events if e["event"] == "paused"]
    assert paused == ["000/verdicts"]


def test_the_target_takes_no_tokens_of_the_oracles_budget(tmp_path: Path) -> None:
    with begin(tmp_path / "run", budget=Budget(tokens=1)) as run:
        target = run.meter_engine(echo(), "target", "target")
        assert len(run.steps("000").map("answers", probe, WORDS, target)) == len(WORDS)


def test_hours_are_those_of_work_summed_over_resumes(tmp_path: Path) -> None:
    begun = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    told = [("created", 0), ("opened", 1), ("answered", 2), ("resumed", 50), ("opened", 51), ("sealed", 53)]
    events = [
        {
            "event": name,
            "at": (begun + timedelta(hours=hours)).isoformat(),
            **({"purpose": "aligning", "tokens_in": 5, "tokens_out": 6} if name == "answered" else {}),
        }
        for name, hours in told
    ]
    spending = Spending.from_events(events, Budget(hours=4.9, tokens=12))
    assert spending.hours == pytest.approx(5, abs=0.01)
    assert spending.tokens == 11
    for oracle in (True, False):
        reached = spending.find_reached_limit(oracle)
        assert reached is not None
        assert "hours" in str(reached)
    spending.budget = Budget(hours=6)
    assert spending.find_reached_limit(True) is None
    with begin(tmp_path / "run", budget=Budget(hours=1e-9)) as run, pytest.raises(BudgetError, match=r"budget\.hours"):
        play(run)


def test_money_by_role_in_ledger_and_report(tmp_path: Path) -> None:
    from charter.runs.reader import RunReader

    text = "version: 1\nworld: village\ntemplates: world\n"
    with Run.create(tmp_path / "run", spec_text=text) as run:
        judged(run, Streaming())  # type: ignore[arg-type]
        other = run.meter_engine(Streaming(), "proposer", "aligning")  # type: ignore[arg-type]
        run.steps("000").map("proposals", probe, WORDS, other)
    roles = sum_by_role(read_costs(RunReader(tmp_path / "run")))
    assert roles["judge"] == {"calls": 6, "made": 6, "tokens_in": 600, "tokens_out": 60, "money": 0.0018}
    assert roles["proposer"]["money"] is None
    assert "judge 0.0018" in bill_text(roles)
    assert "proposer not known" in bill_text(roles)
    assert bill_text({"judge": {"made": 3, "money": 0.0}}) == ""


MODEL = "oracle: {model: m, base_url: 'http://127.0.0.1:1/v1'%s}\n"


def test_money_without_a_price_is_a_fault_with_its_cure() -> None:
    text = "version: 1\nworld: village\ntemplates: world\nbudget: {money: 1.5}\n" + MODEL
    with pytest.raises(SpecError, match=r"judge: the price.*\n.*proposer: the price") as caught:
        Components(parse_spec(text % ""))
    assert "price_in and price_out" in caught.value.cure
    asked = parse_spec(text % ", price_in: 0.15, price_out: 0.6").oracle
    assert role_models.find_price(asked) == (0.15, 0.6)
    assert role_models.find_price(parse_spec("version: 1\nworld: village\ntemplates: world\n").oracle) == (0.0, 0.0)


def test_a_key_stands_in_no_spec_and_is_not_repeated() -> None:
    secret = "sk-very-secret"
    text = "version: 1\nworld: village\ntemplates: world\n"
    for fault in (
        f"key_env: {secret}",
        f"base_url: 'http://me:{secret}@host/v1'",
        f"base_url: 'http://h/v1?k={secret}'",
    ):
        with pytest.raises(SpecError, match="key") as caught:
            parse_spec(f"{text}oracle: {{model: m, {fault}}}\n")
        assert secret not in str(caught.value)
    assert json.loads(parse_spec(text).model_dump_json())["oracle"]["key_env"] == ""
