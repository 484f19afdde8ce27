"""From a spec to what learns from preferences, and to what it is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from charter.judging.records import Pair
from charter.nouns import ModelRef, Record
from charter.ports import Learners, Rewarder, Tuner
from charter.spec import Spec
from charter.wiring.models import tuned

NOT_TOLD = ("reward", "warm_up", "rounds")
"""Keys of ``options.learn.rloo`` that are the method's."""


def learners(spec: Spec, folder: Path, root: Path, rest: Callable[[Tuner], Tuner]) -> Learners:
    """What learns from preferences; jobs and checkpoints of what is launched lie in ``folder``. ``root``: the run's, of
    which models name their files; ``rest``: makes a tuner that waits for memory."""
    from charter.tuners.launched import LaunchedReinforcer, LaunchedTuner
    from charter.tuners.local import LocalReinforcer, LocalTuner
    from charter.tuners.options import DpoOptions, RewardOptions, RlooOptions
    from charter.tuners.rewards import RewardModel

    shared, learn, launch, micro = tuned(spec), spec.options.learn, spec.tuner.launch, spec.tuner.micro_batch

    def told(part: Record, **more: Any) -> dict[str, Any]:
        own = {"lr" if key == "learning_rate" else key: value for key, value in part.model_dump().items()}
        return {key: value for key, value in (shared | own | more).items() if key not in NOT_TOLD}

    dpo = DpoOptions.model_validate(told(learn.dpo))
    rewarding = RewardOptions.model_validate(told(learn.reward, quantize="none"))
    answers = spec.scale.answer_tokens
    rloo = RlooOptions.model_validate(told(learn.rloo, schedule="constant", answer_tokens=answers))

    def rewarder(model: ModelRef) -> Rewarder:
        assert model.adapter is not None
        return RewardModel(model.model_copy(update={"adapter": str(root / model.adapter)}), rewarding)

    if not launch:
        return Learners(rest(LocalTuner(dpo)), rest(LocalTuner(rewarding)), LocalReinforcer(rloo), rewarder)
    return Learners(
        rest(LaunchedTuner(dpo, launch, folder, micro)),
        rest(LaunchedTuner(rewarding, launch, folder, micro)),
        LaunchedReinforcer(rloo, launch, folder, micro),
        rewarder,
    )


def pairs(spec: Spec) -> list[Pair]:
    """The pairs of which people preferred one, where the method learns from them. Raises SpecError."""
    asked = spec.options.learn.pairs
    if spec.method != "rlhf" or asked.by != "people":
        return []
    from charter.sources import pairs as sources

    return sources.pairs(asked.files)
