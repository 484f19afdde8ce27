"""Learning from preferences: rows or prompts in, policy out; and what is replayed beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from charter.errors import TuningError
from charter.ports import Rewarder, RLTuner, SupportsLRScale, Tuner
from charter.records.chat import Exchange, Prompt
from charter.records.item_ids import join_id
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward
from charter.records.record import Step
from charter.records.training_rows import REPLAY, Example, PreferencePair, RatedAnswer, TrainingRow, oversample
from charter.similarity.spelling import normalize_turns
from charter.similarity.splits import LeakageFilter

T = TypeVar("T", bound=Tuner | RLTuner)


def train_on_rows(
    policy: ModelRef, rows: Sequence[TrainingRow], tuner: Tuner, share: float = 1.0, *, step: Step
) -> ModelRef:
    """The model that ``tuner`` makes of a policy: another policy, or a reward model. ``share`` of the learning rate is
    used, where the tuner can take smaller steps. It names its files relative to the run."""
    assert step.directory is not None
    made = _with_lr_scale(tuner, share).tune(_absolute(policy, step), rows, step.directory, step.seed("tune") % 2**31)
    return made.under(step.path)


def train_on_policy(
    policy: ModelRef,
    reference: ModelRef,
    reward: ModelRef | Rewarder,
    prompts: Sequence[Prompt],
    tuner: RLTuner,
    share: float,
    *,
    step: Step,
) -> ModelRef:
    """The policy after practice on ``prompts``, held to ``reference``; ``share`` of the learning rate is
    used."""
    assert step.directory is not None
    worth = _absolute(reward, step) if isinstance(reward, ModelRef) else reward
    held, seed = _absolute(reference, step), step.seed("tune") % 2**31
    made = _with_lr_scale(tuner, share).tune(_absolute(policy, step), prompts, step.directory, seed, held, worth)
    return made.under(step.path)


def keep_good_answers(answers: Sequence[Exchange], rewards: Sequence[ExchangeReward]) -> list[Example]:
    """The answers that were found good, as lessons."""
    good = {r.id for r in rewards if r.value == 1}
    return [
        Example(
            id=join_id("helpful", e.id),
            messages=e.prompt.messages,
            response=e.response,
            thought=e.thought,
            origin="helpful",
            because=(e.id,),
        )
        for e in answers
        if e.id in good and e.stop == "stop" and e.response.strip()
    ]


def mix_pairs(
    pairs: Sequence[PreferencePair], replay: Sequence[Example], more: int = 0, *, step: Step
) -> list[PreferencePair]:
    """Pairs and replay in one seeded order; a lesson stands as a pair of equal answers, from which only the term for
    the chosen answer learns. ``more``: so many rows of replay more for each pair, the same ones again."""
    same = [
        PreferencePair(id=row.id, messages=row.messages, chosen=row.response, rejected=row.response, rater=REPLAY)
        for row in oversample(replay, len(replay) + more * len(pairs))
    ]
    rows = [*pairs, *same]
    step.random("order").shuffle(rows)
    if not pairs:
        raise TuningError("There is no pair to learn from.", "Compare more prompts, or loosen options.learn.pairs.")
    return rows


def mix_rated_answers(
    pairs: Sequence[PreferencePair],
    rated: Sequence[RatedAnswer],
    replay: Sequence[Example],
    more: int = 0,
    *,
    step: Step,
) -> list[RatedAnswer]:
    """Answers that were rated, both answers of each pair, and replay as good ones, in one seeded order. ``more``: so
    many rows of replay more for each bad answer, the same ones again. Raises TuningError where all are of one kind."""
    rows = list(rated)
    for pair in pairs:
        shared = {"messages": pair.messages, "rater": pair.rater}
        rows += [
            RatedAnswer(id=f"{pair.id}/chosen", response=pair.chosen, good=True, **shared),
            RatedAnswer(id=f"{pair.id}/rejected", response=pair.rejected, good=False, **shared),
        ]
    rows = list({(row.messages, row.response, row.good): row for row in rows}.values())
    bad = sum(not row.good for row in rows)
    rows += [
        RatedAnswer(id=row.id, messages=row.messages, response=row.response, good=True, rater=REPLAY)
        for row in oversample(replay, len(replay) + more * bad)
    ]
    if not bad or bad == len(rows):
        raise TuningError(
            f"KTO needs good and bad answers; of {len(rows)} {bad} are bad.",
            "Draw answers to more prompts or at a higher options.learn.pairs.temperature, or give more ratings.",
        )
    step.random("order").shuffle(rows)
    return rows


def rate_answers(
    answers: Sequence[Exchange], rewards: Sequence[ExchangeReward], guard: LeakageFilter, rater: str
) -> list[RatedAnswer]:
    """Whole answers that were found good (worth 1) or bad, without those whose prompts are near gate or held-out."""
    worth = {r.id: r.value for r in rewards}
    clear = {p.id for p in guard.remove_leaked([e.prompt for e in answers])}
    return [
        RatedAnswer(id=e.id, messages=e.prompt.messages, response=e.response, good=value == 1, rater=rater)
        for e in answers
        if (value := worth.get(e.id)) is not None and e.prompt.id in clear and e.stop == "stop" and e.response.strip()
    ]


def settle_ratings(ratings: Sequence[RatedAnswer], guard: LeakageFilter) -> list[RatedAnswer]:
    """Each answer once, as most people rate it, without those whose prompts are near gate or held-out. One that as many
    find good as bad is left out."""
    said: dict[object, list[RatedAnswer]] = {}
    for one in ratings:
        said.setdefault((normalize_turns(one.messages), one.response.strip()), []).append(one)
    settled = []
    for found in said.values():
        good = sum(one.good for one in found)
        if 2 * good != len(found):
            first = next(one for one in found if one.good == (2 * good > len(found)))
            raters = dict.fromkeys(one.rater for one in found if one.good == first.good)
            settled.append(first.model_copy(update={"rater": ", ".join(raters)}))
    clear = {p.id for p in guard.remove_leaked([Prompt(id=one.id, messages=one.messages) for one in settled])}
    return [one for one in settled if one.id in clear]


def mix_examples(chosen: Sequence[Example], replay: Sequence[Example], more: int = 0, *, step: Step) -> list[Example]:
    """Chosen answers and replay in one seeded order; ``more``: so many rows of replay more for each chosen answer."""
    rows = [*chosen, *oversample(replay, len(replay) + more * len(chosen))]
    step.random("order").shuffle(rows)
    return rows


def merge_prompts(redteam: Sequence[Prompt], helpful: Sequence[Prompt], *, step: Step) -> list[Prompt]:
    """Both kinds of prompts in one seeded order, each id once."""
    both = list({p.id: p for p in (*redteam, *helpful)}.values())
    step.random("order").shuffle(both)
    return both


def _with_lr_scale(tuner: T, share: float) -> T:
    return tuner.with_lr_scale(share) if share != 1 and isinstance(tuner, SupportsLRScale) else tuner


def _absolute(model: ModelRef, step: Step) -> ModelRef:
    """The model with the absolute path of its files."""
    assert step.directory is not None
    return model.at_root(step.directory.parents[step.path.count("/")])
