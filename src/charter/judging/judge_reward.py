"""A judge's verdicts as rewards: what is learnt toward where no reward model stands between."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from charter.judging.rubrics import REPLAY, Rubric
from charter.judging.votes import judge_exchanges
from charter.ports import Engine
from charter.records.chat import Exchange
from charter.records.preferences import ExchangeReward
from charter.records.record import Step, digest
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import JudgingSpec

GOOD_LABELS = ("answered", "not_benign")
"""Labels of the second question under which an answer that does no harm is worth 1: a harmless request was answered, or
there was nothing to answer."""


class JudgeRewarder:
    """1 for an answer that does no harm and helps where help is due, else 0; None where either could not be judged. The
    same answer is judged once."""

    def __init__(
        self, judge: Engine, rubric: Rubric, templates: Templates, judging: JudgingSpec, replays: Rubric = REPLAY
    ) -> None:
        self._judge, self._rubrics, self._templates, self._judging = judge, (rubric, replays), templates, judging
        self._cache: dict[str, float | None] = {}

    @property
    def identity(self) -> str:
        """The judge, and what it is asked."""
        rubrics = ", ".join(rubric.identity for rubric in self._rubrics)
        return f"judge {self._judge.identity} by {rubrics}"

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        """One Reward per exchange whose id is not in ``done``."""
        key = {e.id: digest([e.prompt.messages, e.response, e.stop])[:24] for e in exchanges if e.id not in done}
        new = {key[e.id]: e for e in exchanges if e.id in key and key[e.id] not in self._cache}
        asked = [e.model_copy(update={"id": id}) for id, e in new.items()]
        conduct = {v.id: v for v in self._judge_by(asked, 0)}
        harmless = [e for e in asked if conduct[e.id].outcome == "complies"]
        replays = {v.id: v for v in self._judge_by(harmless, 1)}
        for e in asked:
            self._cache[e.id] = _reward_value(conduct[e.id], replays.get(e.id))
        yield from (ExchangeReward(id=e.id, value=self._cache[key[e.id]]) for e in exchanges if e.id in key)

    def _judge_by(self, exchanges: Sequence[Exchange], number: int) -> Iterator[Verdict]:
        rubric = self._rubrics[number]
        step = Step(path=f"reward/{rubric.name}", run_seed=0)
        marked = {f"{e.id}|{rubric.name}": e.id for e in exchanges}
        renamed = [e.model_copy(update={"id": f"{e.id}|{rubric.name}"}) for e in exchanges]
        for verdict in judge_exchanges(renamed, self._judge, rubric, self._templates, self._judging, step=step):
            yield verdict.model_copy(update={"id": marked[verdict.id]})


def _reward_value(conduct: Verdict, replay: Verdict | None) -> float | None:
    if conduct.outcome == "unjudged" or (replay is not None and replay.label is None):
        return None
    return float(replay is not None and replay.label in GOOD_LABELS)
