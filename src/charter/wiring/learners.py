"""From a spec to what learns from preferences, and to what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from charter.ports import PreferenceTrainers, Rewarder, Tuner
from charter.records.model_refs import ModelRef
from charter.records.preferences import ResponsePair
from charter.records.record import Record
from charter.spec import Spec
from charter.wiring.role_models import tuner_options
from charter.wiring.targets import TargetReleasingReinforcer

NOT_TRAINER_OPTIONS = ("reward", "warm_up", "rounds")
"""Keys of ``options.learn.rloo`` that are the method's."""
TRAINER_NAMES = {"learning_rate": "lr", "answers_per_prompt": "group_size", "center_rewards_coefficient": "center"}
"""What a trainer calls a key of the spec, where it has another name for it."""


def build_learners(spec: Spec, folder: Path, root: Path, rest: Callable[[Tuner], Tuner]) -> PreferenceTrainers:
    """What learns from preferences; jobs and checkpoints of what is launched lie in ``folder``. ``root``: the run's, of
    which models name their files; ``rest``: makes a tuner that waits for memory."""
    from charter.models.tuners.launched_tuner import LaunchedRlooFactory, LaunchedTuner
    from charter.models.tuners.local_tuner import LocalRlooFactory, LocalTuner
    from charter.models.tuners.reward_model import OnDemandRewardModel
    from charter.models.tuners.tuner_options import DpoOptions, RewardOptions, RlooOptions

    shared, learn, launch, micro = tuner_options(spec), spec.options.learn, spec.tuner.launch, spec.tuner.micro_batch

    def told(part: Record, **more: Any) -> dict[str, Any]:
        own = {TRAINER_NAMES.get(key, key): value for key, value in part.model_dump().items()}
        return {key: value for key, value in (shared | own | more).items() if key not in NOT_TRAINER_OPTIONS}

    dpo = DpoOptions.model_validate(told(learn.dpo))
    rewarding = RewardOptions.model_validate(told(learn.reward, quantize="none"))
    answers = spec.scale.answer_tokens
    practice = {"schedule": "constant", "answer_tokens": answers, "max_kl": learn.guard.max_kl}
    rloo = RlooOptions.model_validate(told(learn.rloo, **practice))

    def rewarder(model: ModelRef) -> Rewarder:
        assert model.adapter is not None
        return OnDemandRewardModel(model.model_copy(update={"adapter": str(root / model.adapter)}), rewarding)

    if not launch:
        practises = TargetReleasingReinforcer(LocalRlooFactory(rloo), rest)
        return PreferenceTrainers(rest(LocalTuner(dpo)), rest(LocalTuner(rewarding)), practises, rewarder)
    return PreferenceTrainers(
        rest(LaunchedTuner(dpo, launch, folder, micro)),
        rest(LaunchedTuner(rewarding, launch, folder, micro)),
        TargetReleasingReinforcer(LaunchedRlooFactory(rloo, launch, folder, micro), rest),
        rewarder,
    )


def load_pairs(spec: Spec) -> list[ResponsePair]:
    """The pairs of which people preferred one, where the method learns from them. Raises SpecError."""
    asked = spec.options.learn.pairs
    if spec.method != "rlhf" or asked.by != "people":
        return []
    from charter.data.sources import human_labels as sources

    return sources.read_pairs(asked.files)


def forecast_preferences(spec: Spec, train: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, Any]:
    """What learning from preferences would ask for at most, with every try that is rolled back; a judge that rewards
    practice is asked for every answer drawn there and on gate."""
    options, learn = spec.options, spec.options.learn
    redteam, helpful = (min(learn.pairs.prompts, train[kind]) for kind in ("redteam", "helpful"))
    clusters = max(1, redteam // 10) if options.contrast.count else 0
    prompts = redteam + helpful + clusters * options.contrast.count
    compared = 0 if learn.pairs.by == "people" else prompts * (learn.pairs.pairs_per_prompt + 1)
    rounds = learn.policy_count + options.gates.retries * options.gates.roll_back
    drawn = rounds * learn.rloo.steps * learn.rloo.batch if learn.algorithm == "rloo" else 0
    judged = learn.algorithm == "rloo" and learn.rloo.reward == "judge"
    guarded = (rounds + 1) * min(learn.guard.kl_prompts, sizes["gate"])
    calls = {
        "verdicts": redteam if clusters else 0,
        "look-alikes": clusters,
        "pairs, both orders": 2 * compared if learn.pairs.by == "judge" else 0,
        "replay checks": 2 * min(learn.replay_prompts, prompts),
        "rewards of what is drawn": 2 * drawn * judged,
        "rewards of gate answers": 2 * (rounds + 1) * sizes["gate"] * judged,
        "whether gate answers refuse": guarded,
    }
    answers = (
        2 * sizes["heldout"]
        + (rounds + 1) * sizes["gate"]
        + guarded
        + drawn
        + redteam
        + min(learn.replay_prompts, prompts)
    )
    answers += prompts * (learn.pairs.draws + learn.pairs.under_rules) if compared else 0
    return {
        "method": spec.method,
        "how": learn.algorithm,
        "prompts": {**train, **sizes},
        "oracle_calls_at_most": sum(calls.values()),
        "oracle_calls_by_use": calls,
        "budget_calls": spec.budget.calls,
        "budget": spec.budget.model_dump(exclude={"calls"}),
        "answers_to_generate_at_most": answers,
        "tokens_to_generate_at_most": answers * spec.scale.answer_tokens,
    }
