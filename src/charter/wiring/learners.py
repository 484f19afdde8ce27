"""From a spec to what learns from preferences, and to what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.ports import PreferenceTrainers, Rewarder, RLTuner, Tuner
from charter.records.model_refs import ModelRef
from charter.records.preferences import ResponsePair
from charter.records.record import Record
from charter.records.training_rows import RatedAnswer
from charter.spec import Spec
from charter.wiring.plugins import load_object
from charter.wiring.reading_calls import plan_reading
from charter.wiring.role_models import place_tuner, tuner_options

if TYPE_CHECKING:
    from charter.models.engines.ray_cluster import RayCluster
    from charter.models.tuners.tuner_options import TuneOptions
    from charter.records.row_counts import RowCount

NOT_TRAINER_OPTIONS = ("reward", "warm_up", "rounds", "rows", "files")
"""Keys of an algorithm's section that are the method's."""
TRAINER_NAMES = {"learning_rate": "lr", "answers_per_prompt": "group_size", "center_rewards_coefficient": "center"}
"""What a trainer calls a key of the spec, where it has another name for it."""


def build_learners(
    spec: Spec,
    folder: Path,
    root: Path,
    free_memory_first: Callable[[Tuner], RLTuner],
    cluster: RayCluster | None = None,
) -> PreferenceTrainers:
    """What learns from preferences; jobs and checkpoints of what is launched lie in ``folder``. ``root``: the run's, of
    which models name their files; ``free_memory_first``: makes a tuner that waits for memory; ``cluster``: the
    spec's."""
    from charter.models.tuners.ray_rewards import RayRewarder
    from charter.models.tuners.reward_model import RewardModel

    learn = spec.options.learn
    offline = learn.algorithm if learn.algorithm != "rloo" else "dpo"
    options = {name: read_trainer_options(spec, name) for name in (offline, "reward", "rloo")}
    tuners = {name: free_memory_first(place_tuner(spec, own, folder, cluster)) for name, own in options.items()}

    def rewarder(model: ModelRef) -> Rewarder:
        assert model.adapter is not None
        placed = model.model_copy(update={"adapter": str(root / model.adapter)})
        if cluster is not None:
            return RayRewarder(placed, options["reward"], cluster)
        return RewardModel(placed, options["reward"], keep_loaded=False)

    if spec.tuner.program:
        own = load_object(spec.tuner.program, Tuner)
        return PreferenceTrainers(free_memory_first(own), tuners["reward"], tuners["rloo"], rewarder)
    return PreferenceTrainers(tuners[offline], tuners["reward"], tuners["rloo"], rewarder)


def read_trainer_options(spec: Spec, algorithm: str) -> TuneOptions:
    """The options of an algorithm: those of all trainings, then its section in ``options.learn``."""
    from charter.models.tuners.algorithms import ALGORITHMS

    section: Record = getattr(spec.options.learn, algorithm)
    own = {TRAINER_NAMES.get(key, key): value for key, value in section.model_dump().items()}
    more: dict[str, Any] = {}
    if algorithm == "reward":
        more = {"quantize": "none"}
    elif algorithm == "rloo":
        answers, guard = spec.scale.answer_tokens, spec.options.learn.guard
        more = {"schedule": "constant", "answer_tokens": answers, "max_kl": guard.max_kl}
    told = tuner_options(spec) | own | more
    kept = {key: value for key, value in told.items() if key not in NOT_TRAINER_OPTIONS}
    return ALGORITHMS[algorithm].options.model_validate(kept | {"method": algorithm})


def load_pairs(spec: Spec) -> tuple[list[ResponsePair], list[RowCount]]:
    """The pairs of which people preferred one, where the method learns from them, and what the reading of each file
    gave. Raises SpecError."""
    asked = spec.options.learn.pairs
    if spec.method != "rlhf" or asked.by != "people":
        return [], []
    from charter.data.sources import human_labels as sources

    return sources.read_pairs(asked.files, skip=asked.skip)


def load_ratings(spec: Spec) -> tuple[list[RatedAnswer], list[RowCount]]:
    """The answers that people found good or bad, where the method learns from them, and what the reading of each file
    gave. Raises SpecError."""
    learn = spec.options.learn
    if spec.method != "rlhf" or not (learn.rates_answers and learn.kto.rows == "people"):
        return [], []
    from charter.data.sources import human_labels as sources

    return sources.read_ratings(learn.kto.files)


def forecast_preferences(spec: Spec, train: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, Any]:
    """What learning from preferences would ask for at most, with every try that is rolled back; a judge that rewards
    practice is asked for every answer drawn there and on gate."""
    options, learn = spec.options, spec.options.learn
    redteam, helpful = (min(learn.pairs.prompts, train[kind]) for kind in ("redteam", "helpful"))
    clusters = max(1, redteam // 10) if options.contrast.count else 0
    prompts = redteam + helpful + clusters * options.contrast.count
    rated = prompts * (learn.pairs.draws + 1) if learn.rates_answers and learn.kto.rows == "verdicts" else 0
    compared = 0 if learn.pairs.by == "people" or learn.rates_answers else prompts * (learn.pairs.pairs_per_prompt + 1)
    rounds = learn.policy_count + options.gates.retries * options.gates.roll_back
    drawn = rounds * learn.rloo.steps * learn.rloo.batch if learn.algorithm == "rloo" else 0
    judged = learn.algorithm == "rloo" and learn.rloo.reward == "judge"
    guarded = (rounds + 1) * min(learn.guard.kl_prompts, sizes["gate"])
    read = plan_reading(spec.judge or spec.oracle, options.judge, "")
    calls = {
        "verdicts": read.count(redteam if clusters else 0),
        "look-alikes": clusters,
        "pairs, both orders": 2 * compared if learn.pairs.by == "judge" else 0,
        "answers found good or bad": read.count(2 * rated, 2),
        "replay checks": read.count(2 * min(learn.replay_prompts, prompts), 2),
        "rewards of what is drawn": read.count(2 * drawn * judged, 2 * rounds * learn.rloo.steps),
        "rewards of gate answers": read.count(2 * (rounds + 1) * sizes["gate"] * judged, 2 * (rounds + 1)),
        "whether gate answers refuse": read.count(guarded, rounds + 1),
    }
    answers = (
        2 * sizes["heldout"]
        + (rounds + 1) * sizes["gate"]
        + guarded
        + drawn
        + redteam
        + min(learn.replay_prompts, prompts)
    )
    answers += prompts * (learn.pairs.draws + 1) if compared or rated else 0
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
