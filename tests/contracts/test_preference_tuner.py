"""What every tuner that learns from preferences keeps, over each of its kinds, in this process."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.tuners.algorithms import ALGORITHMS
from charter.models.tuners.kto_trainer import KtoOptions, add_mismatched_answers, balance_weight
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.reward_model import RewardModel
from charter.models.tuners.training_job import halve_batch
from charter.models.tuners.trl_trainers import read_train_log
from charter.models.tuners.tuner_options import DpoOptions, RewardOptions, RlooOptions
from charter.ports import Rewarder, RLTuner, Tuner
from charter.records.chat import Exchange, Message, Prompt, Sampling, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward
from charter.records.training_rows import REPLAY, PreferencePair, RatedAnswer, TrainingRow
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

ASKED = ("how do i bake a cake", "how do i grow tomatoes", "what is the capital of france", "how do i pick a lock")
KINDS = [(method, kind) for method in ("dpo", "kto", "reward", "rloo") for kind in ("lora", "full")]


def pair(number: int, asked: str) -> PreferencePair:
    messages = (Message(role="user", content=asked),)
    return PreferencePair(id=f"{number}", messages=messages, chosen="yes please", rejected="no no no")


PAIRS = [pair(number, asked) for number, asked in enumerate(ASKED)]
RATED = [
    RatedAnswer(id=f"{row.id}/{good}", messages=row.messages, response=row.chosen if good else row.rejected, good=good)
    for row in PAIRS
    for good in (True, False)
]
PROMPTS = [Prompt(id=row.id, messages=row.messages) for row in PAIRS]


class Wordy:
    """Rewards an answer by the share of its words that are ``yes``."""

    identity = "wordy"

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        for e in exchanges:
            if e.id not in done:
                words = e.response.split()
                yield ExchangeReward(id=e.id, value=words.count("yes") / (len(words) or 1))


def made(method: str, kind: str, start: ModelRef, **more: object) -> tuple[Tuner, Sequence[TrainingRow]]:
    shared = {"kind": kind, "device": "cpu", "batch": 8, "lr": 2e-2 if kind == "lora" else 3e-3, **more}
    if method == "dpo":
        return LocalTuner(DpoOptions.model_validate({"epochs": 12, "sft_weight": 0.1, **shared})), PAIRS
    if method == "kto":
        return LocalTuner(KtoOptions.model_validate({"epochs": 12, **shared})), RATED
    if method == "reward":
        return LocalTuner(RewardOptions.model_validate({"epochs": 12, **shared})), PAIRS
    practice = {"steps": 25, "group_size": 4, "beta": 0.0, "answer_tokens": 6, "schedule": "constant", "warmup": 0.0}
    options = RlooOptions.model_validate({**shared, **practice, "batch": 16, **more})
    return Practice(LocalTuner(options), start), PROMPTS


@dataclass(frozen=True)
class Practice:
    """A tuner that is always given the same reference and reward."""

    tuner: RLTuner
    reference: ModelRef

    @property
    def identity(self) -> str:
        return self.tuner.identity

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        return self.tuner.tune(start, rows, directory, seed, reference or self.reference, reward or Wordy())


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return weights.resolve_model(str(tiny_models.build(tmp_path_factory.mktemp("start"))))


@pytest.mark.parametrize(("method", "kind"), KINDS)
def test_learns_what_is_preferred(method: str, kind: str, start: ModelRef, tmp_path: Path) -> None:
    tuner, rows = made(method, kind, start)
    before = weights.resolve_model(start.base)
    policy = tuner.tune(start, rows, tmp_path / "policy", seed=3)
    assert policy.files == weights.file_digests(tmp_path / "policy")
    assert weights.resolve_model(start.base) == before, "the starting model was changed"
    assert not any("ref" in Path(name).parts for name in policy.files)
    assert len(policy.curve) > 1
    assert [seen.step for seen in policy.curve] == sorted(seen.step for seen in policy.curve)
    if method == "reward":
        assert margin(policy, kind) > 1.0
    elif method in ("dpo", "kto"):
        assert likelihoods(policy) > likelihoods(start) + 3.0
    else:
        assert share_of_yes(policy) > share_of_yes(start) + 0.3


def margin(model: ModelRef, kind: str) -> float:
    """By how much the model rewards chosen answers more."""
    rewarder: Rewarder = RewardModel(model, RewardOptions.model_validate({"kind": kind, "device": "cpu"}))
    found = {r.id: r.value or 0.0 for r in rewarder.rewards(answered())}
    assert {r.id: r.value for r in rewarder.rewards(answered(), done={"0/chosen"})}.keys() == {*found} - {"0/chosen"}
    return min(found[f"{row.id}/chosen"] - found[f"{row.id}/rejected"] for row in PAIRS)


def answered() -> list[Exchange]:
    return [
        Exchange(
            id=f"{row.id}/{name}",
            prompt=Prompt(id=row.id, messages=row.messages),
            response=text,
            stop="stop",
            model="",
            sampling=Sampling(),
        )
        for row in PAIRS
        for name, text in (("chosen", row.chosen), ("rejected", row.rejected))
    ]


def likelihoods(policy: ModelRef) -> float:
    """By how much a policy holds the chosen answers likelier."""
    engine = LocalEngine(policy, LocalOptions(device="cpu"))
    asked = [ScoreRequest(id=e.id, messages=e.prompt.messages, completion=e.response) for e in answered()]
    found = {x.id: x.value for x in engine.score(asked)}
    return min(found[f"{row.id}/chosen"] - found[f"{row.id}/rejected"] for row in PAIRS)


def share_of_yes(policy: ModelRef) -> float:
    engine = LocalEngine(policy, LocalOptions(device="cpu"))
    asked = [
        tiny_models.ask(f"{p.id}-{n}", p.last, seed=n, max_tokens=6, temperature=1.0) for p in PROMPTS for n in range(8)
    ]
    words = [word for answer in engine.generate(asked) for word in answer.text.split()]
    return words.count("yes") / (len(words) or 1)


@pytest.mark.parametrize("method", ["dpo", "kto", "reward", "rloo"])
def test_seed_decides_the_files_to_the_byte(method: str, start: ModelRef, tmp_path: Path) -> None:
    tuner, rows = made(method, "lora", start, epochs=1, **({"steps": 2} if method == "rloo" else {}))
    one, two, again = (tuner.tune(start, rows, tmp_path / f"{n}", seed=seed) for n, seed in enumerate((1, 2, 1)))
    assert one.digest != two.digest
    assert again == one.model_copy(update={"adapter": again.adapter})
    assert isinstance(tuner, Tuner)
    assert json.loads(tuner.identity)["tuner"] == method


@pytest.mark.parametrize(("method", "kind"), [(m, kind) for m in ("dpo", "kto", "rloo") for kind in ("lora", "full")])
def test_goes_on_from_a_policy_and_is_held_to_it(method: str, kind: str, start: ModelRef, tmp_path: Path) -> None:
    first, rows = made(method, kind, start, **({"steps": 12} if method == "rloo" else {"epochs": 6}))
    policy = first.tune(start, rows, tmp_path / "first", seed=3)
    still = {"lr": 1e-9, "beta": 1.0, **({"steps": 5} if method == "rloo" else {"epochs": 5})}
    tuner, rows = made(method, kind, policy, **still)
    kept = tuner.tune(policy, rows, tmp_path / "kept", seed=4)
    figures = kept.curve[0].figures
    assert abs(figures["kl"] if method == "rloo" else figures["margin"]) < 1e-3, "not held to what it began with"
    assert abs(likelihoods(kept) - likelihoods(policy)) < 1e-2


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_further_round_is_held_to_the_first_reference(kind: str, start: ModelRef, tmp_path: Path) -> None:
    first, rows = made("rloo", kind, start, steps=12)
    policy = first.tune(start, rows, tmp_path / "first", seed=3)
    second, rows = made("rloo", kind, start, steps=5, lr=1e-9, beta=1e-6)
    on = second.tune(policy, rows, tmp_path / "second", seed=4)
    assert on.curve[0].figures["kl"] > 0.01, "the reference moved along"
    assert abs(share_of_yes(on) - share_of_yes(policy)) < 0.05


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_practice_ends_where_it_has_gone_too_far(kind: str, start: ModelRef, tmp_path: Path) -> None:
    told = {"beta": 1e-6, "steps": 25, "max_kl": 1.0}
    tuner, rows = made("rloo", kind, start, **told)
    policy = tuner.tune(start, rows, tmp_path / "near", seed=3)
    nats = [seen.figures["kl"] * seen.figures["length"] for seen in policy.curve]
    assert len(nats) < 25
    assert all(n <= 1.0 for n in nats[:-1])
    assert nats[-1] > 1.0, "the step that ended it is the last of the curve"
    (note,) = policy.notes
    assert f"after step {policy.curve[-1].step}: {nats[-1]:.1f} nats" in note
    free, rows = made("rloo", kind, start, **{**told, "max_kl": 1e6})
    whole = free.tune(start, rows, tmp_path / "far", seed=3)
    assert (len(whole.curve), whole.notes) == (25, ())
    assert whole.curve[: len(nats)] == policy.curve


def test_a_long_curve_keeps_its_last_point() -> None:
    trainer = SimpleNamespace(state=SimpleNamespace(log_history=[{"step": n, "loss": 1.0} for n in range(1, 135)]))
    steps = [seen.step for seen in read_train_log(trainer)]
    assert (steps[:2], steps[-1]) == ([1, 3], 134)
    assert len(steps) < 70


def test_rows_of_another_kind_are_refused(start: ModelRef, tmp_path: Path) -> None:
    wrongs: dict[str, Sequence[TrainingRow]] = {"dpo": PROMPTS, "reward": PROMPTS, "rloo": PAIRS, "kto": PAIRS}
    for number, (method, wrong) in enumerate(wrongs.items()):
        tuner, _ = made(method, "lora", start)
        with pytest.raises(TuningError, match="rows are"):
            tuner.tune(start, wrong, tmp_path / str(number), seed=1)
        assert list((tmp_path / str(number)).iterdir()) == []


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_pair_counts_as_far_as_it_is_certain(kind: str, start: ModelRef, tmp_path: Path) -> None:
    """Pairs that are not certain at all teach nothing; certain ones beside them, and lessons, lose nothing by it."""
    doubtful = [row.model_copy(update={"certainty": 0.5}) for row in PAIRS]
    tuner, _ = made("dpo", kind, start, sft_weight=0.0, epochs=6)
    before = likelihoods(start)
    assert abs(likelihoods(tuner.tune(start, doubtful, tmp_path / "half", seed=3)) - before) < 0.3
    sure = likelihoods(tuner.tune(start, PAIRS, tmp_path / "whole", seed=3))
    assert sure > before + 1.0
    turned = [row.model_copy(update={"certainty": 0.0}) for row in PAIRS]
    assert likelihoods(tuner.tune(start, turned, tmp_path / "turned", seed=3)) < before - 0.5


def test_what_is_logged_of_pairs_is_of_no_lesson_among_them(start: ModelRef, tmp_path: Path) -> None:
    lessons = [row.model_copy(update={"id": f"{row.id}|same", "rejected": row.chosen}) for row in PAIRS]
    alone, among = (
        made("dpo", "lora", start, sft_weight=0.0, epochs=6, batch=8)[0].tune(start, rows, tmp_path / name, seed=3)
        for name, rows in (("alone", PAIRS), ("among", [*PAIRS, *lessons]))
    )
    first = [policy.curve[0].figures for policy in (alone, among)]
    assert first[0]["chosen"] == pytest.approx(first[1]["chosen"], abs=1e-3)
    assert among.curve[-1].figures["accuracy"] == 1.0


def test_a_pair_after_several_turns_is_learnt(start: ModelRef, tmp_path: Path) -> None:
    said = [("user", "hello"), ("assistant", "yes")]
    earlier = tuple(Message.model_validate({"role": role, "content": text}) for role, text in said)
    rows = [row.model_copy(update={"messages": (*earlier, *row.messages)}) for row in PAIRS]
    for method in ("dpo", "reward"):
        tuner, _ = made(method, "lora", start, epochs=6)
        policy = tuner.tune(start, rows, tmp_path / method, seed=3)
        assert policy.left_out == {}
        assert policy.curve[-1].figures["margin"] > policy.curve[0].figures["margin"]
    prompts = [Prompt(id=row.id, messages=row.messages) for row in rows]
    tuner, _ = made("rloo", "lora", start, steps=2)
    assert len(tuner.tune(start, prompts, tmp_path / "rloo", seed=3).curve) == 2


@pytest.mark.parametrize(("batch", "group"), [(9, 3), (8, 4), (6, 3), (15, 5)])
def test_half_a_batch_still_holds_whole_groups(batch: int, group: int) -> None:
    options, halved = RlooOptions(batch=batch, group_size=group), 0
    while options.batch > 1:
        found = halve_batch(options)
        assert isinstance(found, RlooOptions)
        assert found.batch < options.batch
        assert found.batch * found.accumulate % group == 0
        assert found.batch * found.accumulate >= batch
        options, halved = found, halved + 1
    assert halved >= 2


def test_every_algorithm_of_the_table_is_in_this_suite() -> None:
    assert {method for method, _ in KINDS} | {"sft"} == {*ALGORITHMS}
    assert all(own.options.model_fields["method"].default == name for name, own in ALGORITHMS.items())


def test_practice_without_a_reward_is_refused(start: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="what answers are worth"):
        LocalTuner(RlooOptions(device="cpu", answer_tokens=6)).tune(start, PROMPTS, tmp_path / "policy", seed=1)


def test_kto_needs_good_and_bad_answers(start: ModelRef, tmp_path: Path) -> None:
    tuner, rows = made("kto", "lora", start)
    good = [row for row in rows if isinstance(row, RatedAnswer) and row.good]
    with pytest.raises(TuningError, match="4 good and 0 bad"):
        tuner.tune(start, good, tmp_path / "policy", seed=1)


def test_kto_weighs_good_and_bad_answers_the_same_in_all() -> None:
    """Equation 8 of the paper: lambda_D n_D over lambda_U n_U is at least 1."""
    rated = [rate_answer(n, good=n < 6) for n in range(9)]
    assert balance_weight(rated, KtoOptions()) == 2.0
    assert balance_weight(rated, KtoOptions(undesirable_weight=1.5)) == 1.5


def test_kto_does_not_count_what_is_replayed() -> None:
    rated = [rate_answer(n, good=n < 3) for n in range(6)]
    replayed = [rate_answer(n, good=True, rater=REPLAY) for n in range(50)]
    assert balance_weight([*rated, *replayed], KtoOptions()) == 1.0
    assert balance_weight([*rated[3:], *replayed[:9]], KtoOptions()) == 3.0, "no other answer is good"


def rate_answer(number: int, *, good: bool, rater: str = "judge") -> RatedAnswer:
    return RatedAnswer(id=str(number), messages=PROMPTS[0].messages, response="Yes.", good=good, rater=rater)


def test_kto_estimates_divergence_over_answers_to_other_prompts() -> None:
    rows = [{"completion_ids": [n]} for n in range(7)]
    other = [row["KL_completion_ids"][0] for row in add_mismatched_answers(rows, 3)]
    assert other == [2, 0, 1, 5, 3, 4, 5]


def test_half_a_batch_of_kto_keeps_two_answers() -> None:
    assert halve_batch(KtoOptions(batch=3)).batch == 2
    assert halve_batch(KtoOptions(batch=8)).batch == 4
