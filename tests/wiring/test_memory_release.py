"""Memory while something learns: the target's server is ended before, the reward model is gone once it was asked."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import RewardOptions
from charter.ports import PreferenceTrainers, SupportsLRScale, Tuner
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.model_refs import ModelRef
from charter.records.training_rows import PreferencePair
from charter.spec import Spec, parse_spec
from charter.wiring.learners import build_learners
from charter.wiring.targets import MemoryFreeingTuner, Targets
from tests.contracts.test_tuner import ROWS
from tests.fakes import tiny_models
from tests.models.engines.test_served_engine import SERVER

pytestmark = pytest.mark.slow

PAIRS = [PreferencePair(id=row.id, messages=row.messages, chosen="yes please", rejected="no no no") for row in ROWS]
ANSWERS = [
    Exchange(
        id=row.id,
        prompt=Prompt(id=row.id, messages=row.messages),
        response="yes",
        stop="stop",
        model="",
        sampling=Sampling(),
    )
    for row in ROWS
]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return weights.resolve_model(str(tiny_models.build(tmp_path_factory.mktemp("start"))))


def spec(start: ModelRef, launch: str = "") -> Spec:
    serve = f"{SERVER} {{port}} {{name}} --folder {{base}} --pid"
    target = {"model": start.base, "serve": serve, "connections": 1}
    asked = {"method": "rlhf", "world": "village", "target": target, "tuner": {"launch": launch}}
    return parse_spec(json.dumps(asked))


LEARN: dict[str, Callable[[PreferenceTrainers, ModelRef], Tuner]] = {
    "prefers": lambda found, start: found.preference_tuner,
    "rewards": lambda found, start: found.reward_tuner,
    "practises": lambda found, start: found.rl_tuner,
}


@pytest.mark.parametrize("launch", ["", "accelerate launch {script} {job}"])
@pytest.mark.parametrize("how", list(LEARN))
def test_the_server_of_the_target_is_ended_before_anything_learns(
    how: str, launch: str, start: ModelRef, tmp_path: Path
) -> None:
    """Also in a further try with a smaller step."""
    asked = spec(start, launch)
    with closing(Targets(asked, start, tmp_path / "serving")) as targets:
        found = build_learners(
            asked, tmp_path / "tuning", tmp_path, lambda tuner: MemoryFreeingTuner(tuner, targets.release)
        )
        tuner = LEARN[how](found, start)
        assert isinstance(tuner, SupportsLRScale)
        for one in (tuner, tuner.with_lr_scale(0.5)):
            with targets.open_engine(start) as engine:
                (answer,) = engine.generate([tiny_models.ask("a", "hi")])
            server = int(answer.text.split()[1])
            assert psutil.pid_exists(server)
            with pytest.raises(TuningError, match="no rows"):
                one.tune(start, [], tmp_path / "policy", 1)
            assert not psutil.pid_exists(server)


def test_a_smaller_step_of_practice_is_told(start: ModelRef, tmp_path: Path) -> None:
    for launch in ("", "accelerate launch {script} {job}"):
        practice = build_learners(spec(start, launch), tmp_path, tmp_path, unchanged).rl_tuner
        assert isinstance(practice, SupportsLRScale)
        rates = [json.loads(one.identity)["lr"] for one in (practice, practice.with_lr_scale(0.5))]
        assert rates[1] == rates[0] / 2


def test_a_reward_model_is_in_memory_only_while_it_is_asked(start: ModelRef, tmp_path: Path) -> None:
    made = LocalTuner(RewardOptions(device="cpu", lr=1e-2, epochs=1, batch=4)).tune(start, PAIRS, tmp_path / "rm", 1)
    found = build_learners(spec(start), tmp_path, tmp_path, unchanged)
    rewarder, before = found.load_rewarder(made.model_copy(update={"adapter": "rm"})), held()
    said = []
    for _ in range(2):
        rewards = rewarder.rewards(ANSWERS)
        first = next(rewards)
        assert held() > before
        said.append([first, *rewards])
        assert held() == before
    assert said[0] == said[1]
    assert {reward.id for reward in said[0]} == {row.id for row in ROWS}


def held() -> int:
    """Models in memory."""
    from transformers import PreTrainedModel

    gc.collect()
    return sum(issubclass(type(found), PreTrainedModel) for found in gc.get_objects())


def unchanged(tuner: Any) -> Any:
    """A tuner as it is."""
    return tuner
