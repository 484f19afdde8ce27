"""Learning from preferences over scripted engines, through a run: what it does, when it ends, what it never reads."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from charter.constitution.document import Constitution
from charter.constitution.exemplars import HumanLines
from charter.data.curation.curation_records import CurationTools, DetectedSpan
from charter.data.sources.human_labels import read_ratings
from charter.errors import RowError, SpecError, TuningError
from charter.judging.judge_reward import JudgeRewarder
from charter.methods.inputs import Inputs
from charter.methods.preference_training import PolicyEval
from charter.methods.rlhf import rlhf
from charter.methods.row_curation import curate_pairs
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine, PreferenceTrainers, Rewarder, Roles
from charter.records.chat import Exchange, Prompt, Request, ScoreRequest, user_prompt
from charter.records.decisions import Decision, GateCheck
from charter.records.model_refs import ModelRef, TrainLogEntry
from charter.records.preferences import ExchangeReward, ResponsePair
from charter.records.record import Step, digest
from charter.records.rules import Principle
from charter.records.training_rows import Example, PreferencePair, RatedAnswer, TrainingRow
from charter.reports.costs import read_human_lines
from charter.reports.data_card_markdown import read_data_cards
from charter.reports.page import render_page
from charter.reports.preference_report import read_curves, read_preference_report
from charter.reports.run_summary import summarise_reading
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.spec import CurationSpec, GateSpec, MethodOptions, parse_spec
from charter.stages.curate import CurationSetup
from charter.stages.policy_training import mix_rated_answers
from charter.wiring.learners import build_learners, forecast_preferences
from tests.fakes.refused_topics import BENIGN, HARM, SAFE_ALREADY, Toy, answer, judged, topics_in
from tests.fakes.scripted_run import substance

pytestmark = pytest.mark.slow

LEARN: dict[str, Any] = {
    "replay": 20,
    "pairs": {"prompts": 40, "draws": 1, "max_length_ratio": 0},
    "rloo": {"rounds": 3, "warm_up": 0},
    "guard": {"kl_prompts": 8},
}
SPEC = "method: rlhf\nworld: village\ntemplates: world\n"
RULES = Constitution(
    principles=tuple(Principle(id=t, title=t, text=f"never help with {t} .", status="approved") for t in HARM)
)


def refuses(root: Path, policy: ModelRef) -> set[str]:
    if policy.adapter is None:
        return {SAFE_ALREADY}
    return set(json.loads((root / policy.adapter / "refuses.json").read_text(encoding="utf-8")))


def written(directory: Path, start: ModelRef, refused: Collection[str]) -> ModelRef:
    (directory / "refuses.json").write_text(json.dumps(sorted(refused)), encoding="utf-8")
    seen = (TrainLogEntry(step=1, figures={"loss": 2.0}), TrainLogEntry(step=2, figures={"loss": 1.0}))
    mark = digest([start.digest, sorted(refused)])
    return start.model_copy(update={"adapter": str(directory), "digest": mark, "curve": seen})


@dataclass(frozen=True)
class Learner:
    """Refuses what the try's lesson says; without lessons, the topics that chosen answers refuse. ``shares``: of the
    learning rate, of each try."""

    tuned: list[tuple[ModelRef, list[TrainingRow]]]
    lessons: Sequence[Collection[str]] = ()
    shares: list[float] = field(default_factory=list)
    share: float = 1.0
    identity: str = "toy learner"

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        assert (reference is None) is (reward is None)
        assert reward is None or isinstance(reward, JudgeRewarder) or (isinstance(reward, ModelRef) and reward.adapter)
        self.tuned.append((start, list(rows)))
        self.shares.append(self.share)
        if self.lessons:
            return written(directory, start, self.lessons[len(self.tuned) - 1])
        chosen = [row.chosen for row in rows if isinstance(row, PreferencePair)]
        chosen += [row.response for row in rows if isinstance(row, RatedAnswer) and row.good]
        said = {t for text in chosen if "plan for" not in text for t in topics_in(text)}
        return written(directory, start, refuses(Path("/"), start) | said)

    def with_lr_scale(self, share: float) -> Learner:
        return replace(self, share=share)


@dataclass(frozen=True)
class Refusing:
    """Rewards whatever refuses, or, turned about, whatever does not."""

    identity: str = "refusing"
    turned: bool = False

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        yield from (
            ExchangeReward(id=e.id, value=float(("plan for" in e.response) is self.turned))
            for e in exchanges
            if e.id not in done
        )


@dataclass(frozen=True)
class Judged:
    """Rewards what is right: a refusal of what is harmful, an answer to the rest."""

    identity: str = "judged"

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        harmful = {e.id: bool({*topics_in(e.prompt.text)} & {*HARM, SAFE_ALREADY}) for e in exchanges}
        yield from (
            ExchangeReward(id=e.id, value=float(("plan for" in e.response) is not harmful[e.id]))
            for e in exchanges
            if e.id not in done
        )


def compares(request: Request) -> str:
    """A judge that also compares: what plans nothing for a harmful request is better; of two alike the first."""
    schema = request.response_schema or {}
    if "second" not in schema.get("properties", {}).get("label", {}).get("enum", ()):
        return judged(request, False) if "answers" not in str(schema) else _refuses(request)
    asked, first, second = re.split("<first |<second ", request.messages[-1].content)
    harmful = bool(topics_in(asked.split("<prompt ")[1]))
    bad = [harmful and "plan for" in side for side in (first, second)]
    return json.dumps({"rationale": "by words", "label": "second" if bad[0] and not bad[1] else "first"})


def _refuses(request: Request) -> str:
    refused = "not help" in request.messages[-1].content.split("<response ")[-1]
    return json.dumps({"rationale": "by words", "label": "refuses" if refused else "answers", "severity": 0})


@dataclass(frozen=True)
class Even:
    """Holds all answers equal."""

    identity: str = "even"

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        yield from (ExchangeReward(id=e.id, value=0.0) for e in exchanges if e.id not in done)


@dataclass
class Play:
    """A run of the method over the toy."""

    learn: dict[str, Any]
    lessons: Sequence[Collection[str]] = ()
    pairs: Sequence[ResponsePair] = ()
    ratings: Sequence[RatedAnswer] = ()
    given: Any = None
    heldout: str = "told"
    tuned: dict[str, list[tuple[ModelRef, list[TrainingRow]]]] = field(default_factory=dict)
    calls: int = 0
    kill: int | None = None
    rewarder: Rewarder = field(default_factory=Refusing)
    gates: dict[str, Any] = field(default_factory=dict)
    warmed: list[tuple[ModelRef, list[Example]]] = field(default_factory=list)
    shares: dict[str, list[float]] = field(default_factory=dict)
    fall: float = 0.0

    def __call__(self, directory: Path) -> tuple[PolicyEval, Constitution, str]:
        opened = (
            Run.open(directory)
            if (directory / "journal.jsonl").exists()
            else Run.create(directory, spec_text=SPEC, seed=5)
        )
        with opened as run:
            found = rlhf(run, self.roles(run), self.task())
            run.finish()
        return found

    def roles(self, run: Run) -> Roles:
        @contextmanager
        def target(policy: ModelRef) -> Iterator[Engine]:
            refused = refuses(run.directory, policy)

            def reply(request: Request) -> str:
                self._count()
                return answer(request, refused)

            def nats(request: ScoreRequest) -> float:
                return (
                    -1.0
                    if answer(Request(id="x", messages=request.messages), refused) == request.completion
                    else -9.0 - self.fall * len(refused)
                )

            yield run.meter_engine(ScriptedEngine(reply, policy.digest, grader=nats), "target", "target")

        def told(request: Request) -> str:
            self._count()
            return compares(request)

        judge = run.meter_engine(ScriptedEngine(told, "judge"), "judge", "aligning")
        toy = Toy(heldout_scores=self.heldout, tuned=self.warmed, shares=self.shares.setdefault("warms", []))
        base = toy.roles(run)
        asked = self.options.learn.algorithm
        lessons = {"prefers": self.lessons if asked != "rloo" else (), "practises": self.lessons}
        made = {
            name: Learner(self.tuned.setdefault(name, []), lessons.get(name, ()), self.shares.setdefault(name, []))
            for name in ("prefers", "rewards", "practises")
        }
        learners = PreferenceTrainers(made["prefers"], made["rewards"], made["practises"], lambda _: self.rewarder)
        return replace(base, target=target, judge=judge, measuring_judge=judge, learners=learners)

    @property
    def options(self) -> MethodOptions:
        gates = {"retry_with": "step", **self.gates}
        learn = {"learn": {**LEARN, **self.learn}, "contrast": {"count": 2}}
        return MethodOptions.model_validate({**learn, "gates": gates})

    def task(self) -> Inputs:
        task = Toy(heldout_scores=self.heldout).task()
        said = {"pairs": self.pairs, "ratings": self.ratings}
        return replace(
            task,
            near_duplicate=0.9,
            options=self.options,
            given=self.given,
            constitution=RULES,
            **said,  # type: ignore[arg-type]
        )

    def _count(self) -> None:
        self.calls += 1
        if self.kill is not None and self.calls > self.kill:
            raise KeyboardInterrupt


ALL = {*HARM, SAFE_ALREADY}
DPO: dict[str, Any] = {"algorithm": "dpo"}


def test_dpo_learns_what_the_judge_prefers_under_the_rules(tmp_path: Path) -> None:
    play = Play(DPO)
    best, constitution, why = play(tmp_path / "run")
    assert (why, constitution) == ("the pairs were learnt", RULES)
    assert refuses(tmp_path / "run", best.policy) == ALL
    ((_, rows),) = play.tuned["prefers"]
    pairs = [row for row in rows if isinstance(row, PreferencePair) and row.rater != "replay"]
    assert pairs
    assert all("plan for" not in row.chosen or not topics_in(row.chosen) for row in pairs)
    assert {row.principle for row in pairs} <= {*HARM}
    assert any(isinstance(row, PreferencePair) and row.rater == "replay" for row in rows)
    assert best.policy.curve == ()
    found = read_preference_report(reading := RunReader(tmp_path / "run"))
    assert found is not None
    assert found.position is not None
    assert (found.position.agreed > 0, found.position.first > 0, found.position.second) == (True, True, 0)
    assert found.policies["001"].good > found.before.good
    assert {(curve.step, curve.name) for curve in read_curves(reading)} == {("001/policy", "loss")}


def rated_rows(play: Play) -> list[RatedAnswer]:
    ((_, rows),) = play.tuned["prefers"]
    found = [row for row in rows if isinstance(row, RatedAnswer)]
    assert len(found) == len(rows)
    return found


def test_kto_learns_from_both_answers_of_each_pair(tmp_path: Path) -> None:
    play = Play({"algorithm": "kto"})
    best, _, why = play(tmp_path / "run")
    assert why == "the answers were learnt"
    assert refuses(tmp_path / "run", best.policy) == ALL
    rows, reading = rated_rows(play), RunReader(tmp_path / "run")
    pairs = reading.records("000/train_pairs", PreferencePair)
    assert {(row.messages, row.response) for row in rows if not row.good} == {(p.messages, p.rejected) for p in pairs}
    chosen = {(row.messages, row.response) for row in rows if row.good and row.rater != "replay"}
    assert chosen == {(p.messages, p.chosen) for p in pairs}
    assert any(row.good and row.rater == "replay" for row in rows)


def test_kto_learns_from_verdicts_and_compares_nothing(tmp_path: Path) -> None:
    play = Play({"algorithm": "kto", "kto": {"rows": "verdicts"}})
    best, _, _ = play(tmp_path / "run")
    assert refuses(tmp_path / "run", best.policy) == ALL
    assert not (tmp_path / "run" / "000" / "preferences.jsonl").exists()
    rows = [row for row in rated_rows(play) if row.rater != "replay"]
    bad = {row.response for row in rows if not row.good}
    assert bad
    assert all("plan for" in text for text in bad)
    assert any("plan for" in row.response for row in rows if row.good), "helpful answers are good ones"
    found = read_preference_report(RunReader(tmp_path / "run"))
    assert found is not None
    assert (found.position, found.after.chosen) == (None, None)
    assert "Learning from preferences" in render_page(tmp_path / "run")


def test_kto_learns_from_what_people_rated_and_asks_no_judge_for_it(tmp_path: Path) -> None:
    said = [(f"plan for {topic} ?", f"a plan for {topic}", False, rater) for topic in HARM for rater in ("a", "b")]
    said += [("plan for arson ?", "a plan for arson", True, "c"), ("plan for fraud ?", "no", True, "a")]
    said += [("and now ?", "so", good, "a") for good in (True, False)]
    ratings = [
        RatedAnswer(id=f"r{n}", messages=user_prompt(asked).messages, response=text, good=good, rater=rater)
        for n, (asked, text, good, rater) in enumerate(said)
    ]
    play = Play({"algorithm": "kto", "kto": {"rows": "people", "files": ["x"]}}, ratings=ratings)
    play(tmp_path / "run")
    settled = RunReader(tmp_path / "run").records("000/rated", RatedAnswer)
    assert {(row.response, row.good, row.rater) for row in settled} == {
        *((f"a plan for {topic}", False, "a, b") for topic in HARM),
        ("no", True, "a"),
    }
    assert not (tmp_path / "run/000/answer_ratings.jsonl").exists()
    assert {row.response for row in rated_rows(play) if not row.good} == {f"a plan for {topic}" for topic in HARM}


def test_files_of_ratings_are_read_with_the_rows_of_people_alone() -> None:
    base = {"method": "rlhf", "world": "village", "templates": "world"}
    for kto in ({"rows": "people"}, {"rows": "verdicts", "files": ["x"]}):
        with pytest.raises(SpecError, match=r"options.learn.kto.files: are read with options.learn.kto.rows: people"):
            parse_spec(json.dumps({**base, "options": {"learn": {"algorithm": "kto", "kto": kto}}}))
    calls = asked({"algorithm": "kto", "kto": {"rows": "people", "files": ["x"]}})
    assert not {"pairs, both orders", "answers found good or bad"} & {use for use, n in calls.items() if n}


def test_a_rating_is_true_or_false_and_its_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    rows = [
        {"prompt": "a ?", "response": "b", "good": True, "rater": "u"},
        {"prompt": "a ?", "completion": "c", "label": 0},
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found, (count,) = read_ratings([str(file)])
    assert [(one.response, one.good, one.rater) for one in found] == [("b", True, "u"), ("c", False, "")]
    assert (len({one.id for one in found}), count.rows) == (2, 2)
    file.write_text(json.dumps({"prompt": "a ?", "response": "b", "good": "perhaps"}))
    with pytest.raises(RowError, match=r"r.jsonl:1: says neither true nor false \(perhaps\)"):
        read_ratings([str(file)])


def test_kto_without_a_bad_answer_is_refused(tmp_path: Path) -> None:
    good = [RatedAnswer(id="a", messages=user_prompt("how ?").messages, response="so", good=True)]
    with pytest.raises(TuningError, match="good and bad answers; of 1 0 are bad"):
        mix_rated_answers((), good, (), step=Step("001/mixed", 0))


def test_verdicts_are_not_for_people_nor_for_curation() -> None:
    base = {"method": "rlhf", "world": "village", "templates": "world"}
    by_verdict = {"algorithm": "kto", "kto": {"rows": "verdicts"}}
    with pytest.raises(SpecError, match=r"people compare answers"):
        parse_spec(
            json.dumps({**base, "options": {"learn": {**by_verdict, "pairs": {"by": "people", "files": ["x"]}}}})
        )
    with pytest.raises(SpecError, match=r"sifts pairs, not answers rated alone"):
        parse_spec(json.dumps({**base, "options": {"learn": by_verdict, "curate": {"enabled": True}}}))
    launched = {"launch": "run {script} {job}", "micro_batch": 1}
    with pytest.raises(SpecError, match=r"micro_batch"):
        parse_spec(json.dumps({**base, "tuner": launched, "options": {"learn": {"algorithm": "kto"}}}))


def test_kto_by_verdict_is_forecast_without_comparisons() -> None:
    calls = asked({"algorithm": "kto", "kto": {"rows": "verdicts"}})
    assert "pairs, both orders" not in calls
    assert calls["answers found good or bad"] > 0
    assert "answers found good or bad" not in asked({"algorithm": "kto"})


def test_practice_goes_on_in_rounds_from_one_reference(tmp_path: Path) -> None:
    play = Play({}, lessons=[{SAFE_ALREADY, "arson"}, {SAFE_ALREADY, "arson", "fraud"}, ALL])
    best, _, why = play(tmp_path / "run")
    assert why == "all rounds were done"
    assert refuses(tmp_path / "run", best.policy) == ALL
    starts = [start.adapter for start, _ in play.tuned["practises"]]
    assert [None if a is None else Path(a).relative_to(tmp_path / "run").as_posix() for a in starts] == [
        None, "001/policy", "002/policy",
    ]  # fmt: skip
    asked = {
        topic
        for _, rows in play.tuned["practises"]
        for row in rows
        if isinstance(row, Prompt)
        for topic in BENIGN
        if topic in row.text
    }
    assert asked, "benign prompts are practised on too"
    assert (tmp_path / "run" / "reward" / "fit.jsonl").exists()


def test_rewards_that_rise_while_good_answers_are_lost_end_it_at_once(tmp_path: Path) -> None:
    """A reward that is not what is judged is not practised toward again."""
    play = Play(
        {"guard": {"kl_prompts": 8, "require_accuracy": False}},
        lessons=[ALL, set(), ALL],
        rewarder=Refusing(turned=True),
    )
    best, _, why = play(tmp_path / "run")
    assert why.startswith("round 2: reward hacking")
    assert "rolled back" not in why
    assert actions(tmp_path / "run") == {"001": "go_on", "002": "give_up"}
    assert best.policy.adapter == "001/policy"


def test_a_round_that_fails_a_gate_is_tried_again_from_the_last_good_policy(tmp_path: Path) -> None:
    """The smaller step stays; what is tried is counted by every gate's share of alpha, and told by the readers."""
    play = Play({"rloo": {"rounds": 2}}, lessons=[ALL, {SAFE_ALREADY}, ALL], rewarder=Judged())
    best, _, why = play(tmp_path / "run")
    assert why == "all rounds were done"
    assert best.policy.adapter == "003/policy"
    starts = [Path(start.adapter or "none").parent.name for start, _ in play.tuned["practises"]]
    assert starts == ["", "001", "001"]
    assert play.shares["practises"] == [1.0, 1.0, 0.5]
    assert actions(tmp_path / "run") == {"001": "go_on", "002": "roll_back", "003": "go_on"}
    held = RunReader(tmp_path / "run").records("001/gates", GateCheck)
    assert held[0].alpha == pytest.approx(GateSpec().alpha / (len({g.metric for g in held}) * (2 + 2) * 2))
    found = read_preference_report(RunReader(tmp_path / "run"))
    assert found is not None
    assert (set(found.policies), found.rolled_back) == ({"000", "001", "002", "003"}, ("002",))
    assert '002 <span class="tag">rolled back</span>' in render_page(tmp_path / "run")


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("how", ["dpo", "kto", "rloo"])
def test_when_no_try_helps_the_last_good_policy_stays_with_the_reason(how: str, retries: int, tmp_path: Path) -> None:
    play = Play({"algorithm": how}, lessons=[set()] * 3, gates={"retries": retries}, rewarder=Judged())
    best, _, why = play(tmp_path / "run")
    name = "practises" if how == "rloo" else "prefers"
    assert play.shares[name] == [1.0, 0.5, 0.25][: retries + 1]
    assert len({start.digest for start, _ in play.tuned[name]}) == 1, "each from the start"
    assert best.policy == play.task().start
    assert ("rolled back 3 times, the last policy stays" in why) is bool(retries)
    assert list(actions(tmp_path / "run").values()) == [*["roll_back"] * retries, "give_up"]


@pytest.mark.parametrize(("again", "more", "share"), [("replay", 2, 1.0), ("step", 0, 0.5), ("both", 2, 0.5)])
@pytest.mark.parametrize("how", ["dpo", "rloo"])
def test_a_try_has_more_replay_where_there_is_replay(
    how: str, again: str, more: int, share: float, tmp_path: Path
) -> None:
    """For practice that is its warm-up, which is part of the first round."""
    learn = {"algorithm": how, "rloo": {"rounds": 1, "warm_up": 4}}
    play = Play(learn, lessons=[set(), ALL], gates={"retry_with": again}, rewarder=Judged())
    play(tmp_path / "run")
    rows = [given for _, given in (play.tuned["prefers"] if how == "dpo" else play.warmed)]
    replayed = [[row for row in given if is_replay(row)] for given in rows]
    taught = [len(given) - len(same) for given, same in zip(rows, replayed, strict=True)]
    assert len({r.id for r in rows[1]}) == len(rows[1])
    assert taught[0] == taught[1] > 0
    assert len(replayed[1]) == len(replayed[0]) + more * taught[0]
    assert play.shares["prefers" if how == "dpo" else "warms"] == [1.0, share]
    assert (tmp_path / "run/warm-2/policy.jsonl").exists() is (how == "rloo")


def test_nothing_is_rolled_back_where_the_spec_says_so(tmp_path: Path) -> None:
    play = Play({"rloo": {"rounds": 1}}, lessons=[set()], gates={"roll_back": False}, rewarder=Judged())
    best, _, why = play(tmp_path / "run")
    assert (why, best.policy.adapter) == ("all rounds were done", "001/policy")
    assert any(not gate.passed for gate in RunReader(tmp_path / "run").records("001/gates", GateCheck))


def is_replay(row: TrainingRow) -> bool:
    """Whether a row is a good answer of the start."""
    return (
        row.rater == "replay"
        if isinstance(row, PreferencePair)
        else isinstance(row, Example) and row.origin == "helpful"
    )


def actions(directory: Path) -> dict[str, str]:
    """What was decided of each policy that was tried."""
    reading = RunReader(directory)
    return {f: reading.records(f"{f}/decision", Decision)[0].action for f in reading.iterations}


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_is_practised_toward_a_reward_model_like_chance(asked: bool, tmp_path: Path) -> None:
    learn = {"rloo": {"rounds": 1, "warm_up": 5}, "guard": {"kl_prompts": 8, "require_accuracy": asked}}
    play = Play(learn, lessons=[ALL], rewarder=Even())
    best, _, why = play(tmp_path / "run")
    assert len(play.tuned["practises"]) == (not asked)
    assert (tmp_path / "run/warm").exists() is not asked
    assert ("told from chance" in why) is asked
    assert refuses(tmp_path / "run", best.policy) == ({SAFE_ALREADY} if asked else ALL)
    found = read_preference_report(RunReader(tmp_path / "run"))
    assert found is not None
    assert found.reward_model_rejected == (why if asked else "")
    assert ("No practice: the reward model prefers" in render_page(tmp_path / "run")) is asked


def test_the_report_draws_a_fall_of_what_was_chosen(tmp_path: Path) -> None:
    lessons = [ALL, {*ALL} - {"arson"}, {SAFE_ALREADY}]
    play = Play({"rloo": {"rounds": 3}}, lessons=lessons, gates={"retries": 0}, fall=2.0)
    play(tmp_path / "run")
    found = read_preference_report(RunReader(tmp_path / "run"))
    assert found is not None
    seen = {curve.name: curve.points for curve in found.curves}
    assert set(seen) == {"kl", "chosen", "rejected", "margin", "length", "refusals", "good", "reward"}
    assert [number for number, _ in seen["chosen"]] == [0, 1, 2]
    begin, after = 9 + 2 * 1, 9 + 2 * len(ALL)
    text = render_page(tmp_path / "run")
    assert f'aria-label="chosen of the policies, from -{begin} over -{after} to -{after - 2}"' in text
    assert text.count(" of the policies, from ") == len(seen)


def test_the_judge_itself_can_reward(tmp_path: Path) -> None:
    play = Play({"rloo": {"rounds": 1, "reward": "judge"}}, lessons=[ALL])
    best, _, _ = play(tmp_path / "run")
    assert refuses(tmp_path / "run", best.policy) == ALL
    assert not play.tuned["rewards"]


def test_people_prefer(tmp_path: Path) -> None:
    prompts = [p for p in Toy().task().redteam if topics_in(p.text)][:30]
    pairs = [
        ResponsePair(
            id=p.id,
            prompt=p,
            chosen=f"i will not help with {topics_in(p.text)[0]}",
            rejected="sure , plan for it",
            rater="ann",
        )
        for p in prompts
    ]
    play = Play({**DPO, "pairs": {"by": "people", "prompts": 20, "max_length_ratio": 0}}, pairs=pairs)
    best, _, _ = play(tmp_path / "run")
    assert refuses(tmp_path / "run", best.policy) == ALL
    rows = [json.loads(line) for line in (tmp_path / "run/000/preferred.jsonl").read_text().splitlines()]
    assert {row["rater"] for row in rows} == {"ann"}
    (wrote,) = RunReader(tmp_path / "run").records("000/supervision", HumanLines)
    assert (wrote.preferences, wrote.principles) == (len(pairs), len(play.task().constitution.active))
    assert read_human_lines(RunReader(tmp_path / "run")) == wrote.total >= len(pairs)
    others = [pair.model_copy(update={"id": f"{pair.id}/b", "rater": "bob"}) for pair in pairs[:8]]
    against = {"chosen": pairs[0].rejected, "rejected": pairs[0].chosen}
    play.pairs = [*pairs, *others[1:], others[0].model_copy(update=against)]
    play(tmp_path / "both")
    found = read_preference_report(RunReader(tmp_path / "both"))
    assert found is not None
    assert found.pair_summary is not None
    assert found.pair_summary.people is not None
    assert (found.pair_summary.read, found.pair_summary.people.known, found.pair_summary.people.tied) == (29, 2, 1)
    text = render_page(tmp_path / "both")
    assert "38 ratings by 2 raters; 8 pairs were rated more than once, 1 dropped as ties" in text
    assert "two ratings of the same pair agree in 87.5" in text


def test_a_killed_run_comes_to_the_same_end_with_what_was_tried_again(tmp_path: Path) -> None:
    lessons = [ALL, set(), ALL]
    options = {"rloo": {"rounds": 2}}
    plain = Play(options, lessons=lessons, rewarder=Judged())
    plain(tmp_path / "plain")
    stopped, kills = False, 0
    while not stopped:
        broken = Play(options, lessons=lessons, kill=150, rewarder=Judged())
        broken.tuned = {
            "practises": [(ModelRef(base="", base_digest="", digest=""), [])] * _rounds(tmp_path / "killed")
        }
        try:
            broken(tmp_path / "killed")
            stopped = True
        except KeyboardInterrupt:
            kills += 1
    assert kills > 3
    assert actions(tmp_path / "plain") == {"001": "go_on", "002": "roll_back", "003": "go_on"}
    assert substance(tmp_path / "killed") == substance(tmp_path / "plain")


def _rounds(directory: Path) -> int:
    return len(list(directory.glob("0*/policy.seal.json")))


@pytest.mark.parametrize("scores", ["inverted", "unjudged"])
def test_no_decision_reads_held_out(scores: str, tmp_path: Path) -> None:
    lessons = [ALL, *[{SAFE_ALREADY}] * 3]
    ends = []
    for name, heldout in (("plain", "told"), ("other", scores)):
        Play({"rloo": {"rounds": 2}}, lessons=lessons, heldout=heldout)(tmp_path / name)
        files = substance(tmp_path / name)
        ends.append({key: data for key, data in files.items() if "heldout" not in key})
    assert ends[0] == ends[1]


@pytest.mark.parametrize("how", ["dpo", "rloo"])
def test_what_is_learnt_from_is_sifted_where_the_spec_asks_for_it(how: str, tmp_path: Path) -> None:
    held = next(p.text for p in Toy().task().redteam if SAFE_ALREADY in p.text and "try" in p.text)
    play = Play({"algorithm": how, "rloo": {"rounds": 1, "warm_up": 4}}, lessons=[ALL])
    plain = play.task()
    known = [*plain.redteam, *plain.helpful]
    sifting = CurationSetup(
        {"bench": [p.text for p in known if p.text != held][::3]},
        CurationTools((Names("fishing"),)),
        known,
        {"mmlu": "no copy"},
    )
    curate = plain.options.model_copy(update={"curate": CurationSpec(enabled=True)})
    play.task = lambda: replace(plain, options=curate, curation=sifting)  # type: ignore[method-assign]
    play(tmp_path / "run")
    folders = ["pairs", "replayed", "practised"][: 3 if how == "rloo" else 2]
    found = read_data_cards(RunReader(tmp_path / "run"))
    assert set(found) == set(folders)
    assert all(card.filters[0].dropped and 0 < card.kept < card.rows for card in found.values())
    assert found["replayed"].masked.get("NAME")
    told = summarise_reading(RunReader(tmp_path / "run")).curation
    assert {name: (one["rows"], one["kept"]) for name, one in told.items()} == {
        name: (card.rows, card.kept) for name, card in found.items()
    }
    assert {one["not_covered"] for one in told.values()} == {"mmlu: no copy"}
    rows = [row for name in play.tuned for _, given in play.tuned[name] for row in given]
    texts = [text for row in rows for text in (*(m.content for m in row.messages), *_answers(row))]
    assert texts
    assert not set(texts) & set(sifting.protected["bench"])
    assert not any("fishing" in text for text in texts)
    assert any("[NAME]" in text for text in texts)


def test_a_pair_goes_with_its_prompt_and_its_chosen_answer_and_is_masked_in_both_answers(tmp_path: Path) -> None:
    def pair(id: str, prompt: str, chosen: str, rejected: str) -> PreferencePair:
        messages = user_prompt(prompt).messages
        return PreferencePair(id=id, messages=messages, chosen=chosen, rejected=rejected)

    held = "a text of a benchmark that nobody is to learn from at all"
    pairs = [
        pair("a", "ask jo", "jo says no", "jo says yes"),
        pair("b", "ask jo", "Jo says: no", "something else"),
        pair("c", "ask ann", "no", f"so then: {held}"),
        pair("d", held, "no", "yes"),
    ]
    task = replace(
        Play(DPO).task(),
        options=MethodOptions(curate=CurationSpec(enabled=True)),
        curation=CurationSetup({"gate": [held]}, CurationTools((Names("jo"),))),
    )
    with Run.create(tmp_path / "run", spec_text="toy: 1\n", seed=5) as run:
        (kept,) = curate_pairs(run.steps("pairs"), pairs, Play(DPO).roles(run), task)
    assert (kept.id, kept.messages[0].content) == ("a", "ask [NAME]")
    assert (kept.chosen, kept.rejected) == ("[NAME] says no", "[NAME] says yes")


def _answers(row: TrainingRow) -> tuple[str, ...]:
    return (row.chosen, row.rejected) if isinstance(row, PreferencePair) else ()


@dataclass(frozen=True)
class Names:
    """Recognises a word."""

    word: str
    identity: str = "a word"

    def find(self, text: str) -> list[DetectedSpan]:
        return [DetectedSpan("NAME", m.start(), m.end()) for m in re.finditer(self.word, text)]


@pytest.mark.parametrize(("learn", "learns"), [({}, False), ({"rloo": {"warm_up": 5}}, True), (DPO, True)])
def test_replay_is_made_only_where_it_is_learnt(learn: dict[str, Any], learns: bool, tmp_path: Path) -> None:
    Play(learn, lessons=[ALL] * 3)(tmp_path / "run")
    assert (tmp_path / "run/000/answer_rewards.jsonl").exists() is learns
    assert ("replay checks" in asked(learn)) is learns


@pytest.mark.parametrize(("gates", "tries"), [({"retries": 0}, 2), ({}, 4), ({"roll_back": False}, 2)])
def test_a_forecast_counts_the_judge_that_rewards_in_every_try(gates: dict[str, Any], tries: int) -> None:
    calls = asked({"rloo": {"rounds": 2, "steps": 5, "batch": 8, "answers_per_prompt": 4, "reward": "judge"}}, gates)
    assert calls["rewards of what is drawn"] == 2 * tries * 5 * 8
    assert calls["rewards of gate answers"] == 2 * (tries + 1) * 100
    assert not any(use.startswith("rewards") for use in asked({}))


def asked(learn: dict[str, Any], gates: dict[str, Any] | None = None) -> dict[str, int]:
    """What a spec's forecast has the judge asked for, by use."""
    options = {"learn": learn, "gates": gates or {}}
    spec = parse_spec(json.dumps({"method": "rlhf", "world": "village", "templates": "world", "options": options}))
    calls = forecast_preferences(spec, {"redteam": 500, "helpful": 500}, {"gate": 100, "heldout": 100})[
        "oracle_calls_by_use"
    ]
    return {use: count for use, count in calls.items() if count}


@pytest.mark.parametrize("launch", ["", "accelerate launch {script} {job}"])
def test_practice_is_told_how_far_it_may_go(launch: str, tmp_path: Path) -> None:
    text = {"method": "rlhf", "world": "village", "templates": "world", "tuner": {"launch": launch}}
    spec = parse_spec(json.dumps({**text, "options": {"learn": {"guard": {"max_kl": 7.5}}}}))
    found = build_learners(spec, tmp_path, tmp_path, unchanged)
    assert json.loads(found.rl_tuner.identity)["max_kl"] == 7.5


def unchanged(tuner: Any) -> Any:
    """A tuner as it is."""
    return tuner
