"""Learning from preferences: rows or prompts in, policy out; and what is replayed beside."""

from __future__ import annotations

from collections.abc import Sequence

from charter.errors import TuningError
from charter.nouns import Example, Exchange, ModelRef, Preferred, Prompt, Row, Step
from charter.ports import Reinforcer, Reward, Rewarder, Tuner


def taught(policy: ModelRef, rows: Sequence[Row], tuner: Tuner, *, step: Step) -> ModelRef:
    """The model that ``tuner`` makes of a policy: another policy, or a reward model. It names its files relative to the
    run."""
    assert step.directory is not None
    made = tuner.tune(_found(policy, step), rows, step.directory, step.seed("tune") % 2**31)
    return made.model_copy(update={"adapter": step.path})


def practise(
    policy: ModelRef,
    reference: ModelRef,
    reward: ModelRef | Rewarder,
    prompts: Sequence[Prompt],
    reinforcer: Reinforcer,
    *,
    step: Step,
) -> ModelRef:
    """The policy after practice on ``prompts``, held to ``reference``."""
    assert step.directory is not None
    worth = _found(reward, step) if isinstance(reward, ModelRef) else reward
    tuner = reinforcer.toward(_found(reference, step), worth)
    made = tuner.tune(_found(policy, step), prompts, step.directory, step.seed("tune") % 2**31)
    return made.model_copy(update={"adapter": step.path})


def rehearsed(answers: Sequence[Exchange], rewards: Sequence[Reward], *, step: Step) -> list[Example]:
    """The answers that were found good, as lessons."""
    del step
    good = {r.id for r in rewards if r.value == 1}
    return [
        Example(
            id=f"helpful/{e.id}",
            messages=e.prompt.messages,
            response=e.response,
            origin="helpful",
            because=(e.id,),
        )
        for e in answers
        if e.id in good and e.stop == "stop" and e.response.strip()
    ]


def mixed(pairs: Sequence[Preferred], replay: Sequence[Example], *, step: Step) -> list[Preferred]:
    """Pairs and replay in one seeded order; a lesson stands as a pair of equal answers, from which only the term for
    the chosen answer learns."""
    same = [
        Preferred(id=row.id, messages=row.messages, chosen=row.response, rejected=row.response, rater="replay")
        for row in replay
    ]
    rows = [*pairs, *same]
    step.random("order").shuffle(rows)
    if not pairs:
        raise TuningError("There is no pair to learn from.", "Compare more prompts, or loosen options.learn.pairs.")
    return rows


def lessons(chosen: Sequence[Example], replay: Sequence[Example], *, step: Step) -> list[Example]:
    """Chosen answers and replay in one seeded order."""
    rows = [*chosen, *replay]
    step.random("order").shuffle(rows)
    return rows


def gathered(redteam: Sequence[Prompt], helpful: Sequence[Prompt], *, step: Step) -> list[Prompt]:
    """Both kinds of prompts in one seeded order, each id once."""
    both = list({p.id: p for p in (*redteam, *helpful)}.values())
    step.random("order").shuffle(both)
    return both


def _found(model: ModelRef, step: Step) -> ModelRef:
    """The model with the absolute path of its files."""
    assert step.directory is not None
    if model.adapter is None:
        return model
    root = step.directory.parents[step.path.count("/")]
    return model.model_copy(update={"adapter": str(root / model.adapter)})
