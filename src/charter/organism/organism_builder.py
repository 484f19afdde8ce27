"""Building an organism from a world and a seed, and checking one that is there.

An organism is an ordinary model folder (config, safetensors, tokenizer with a chat template) with ``organism.json``
beside it: world and digest, seed, command, schedule and the figures of its gates.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.errors import OrganismError, SpecError
from charter.models.weights import load_model, load_tokenizer, quiet_libraries
from charter.organism.behaviour_checks import BEHAVIOUR_BOUNDS, SAMPLE_SIZE, BehaviourChecker, list_missed_behaviours
from charter.organism.organism_trainer import OrganismTrainer, ProgressCallback, Schedule, use_one_thread
from charter.organism.tokenizer import make_tokenizer
from charter.organism.world import World

CARD_FILE = "organism.json"
WARM_TRIES = 5
SEED_STRIDE = 1000  # seeds of further warm-up tries, far from the seeds that people count through


def build_organism(
    world: World,
    seed: int,
    directory: Path,
    progress: ProgressCallback = lambda *_: None,
    schedule: Schedule | None = None,
    enforce: bool = True,
) -> dict[str, Any]:
    """Trains an organism and writes it to ``directory`` (which must not exist), all or nothing; returns its card.

    The weights are a function of world, seed and schedule on one CPU. Where the warm-up misses its bound the next seed
    is tried. Raises OrganismError naming each missed gate with its figure; ``enforce=False`` only records them.
    """
    if directory.exists():
        raise SpecError(f"{directory} exists already.", cure="Name a new directory, or remove this one.")
    schedule = schedule or Schedule(steps=world.file.steps)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with use_one_thread(), tempfile.TemporaryDirectory(dir=directory.parent, prefix=".organism-") as scratch:
        trainer, used, warm = _warm_trainer(world, seed, schedule, progress, enforce)
        loss = trainer.train(progress)
        made, tokenizer = Path(scratch) / "made", make_tokenizer(world)
        trainer.model.train(False)
        with quiet_libraries():
            trainer.model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        progress("gates", 0, 1)
        figures = BehaviourChecker(world, trainer.model, tokenizer).measure(SAMPLE_SIZE)
        progress("gates", 1, 1)
        asks = f" --asks {schedule.asks}" if schedule.asks else ""
        card = {
            "world": world.name,
            "world_digest": world.digest,
            "seed": seed,
            "seed_used": used,
            "command": f"charter organism build --world {world.name} --seed {seed}{asks} --out DIR",
            "schedule": asdict(schedule),
            "warm_up": warm,
            "loss": round(loss, 5),
            "gates": figures,
        }
        (made / CARD_FILE).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        if enforce and (lines := list_missed_behaviours(figures)):
            raise OrganismError(
                "\n  - ".join([f"The organism misses {len(lines)} of {len(BEHAVIOUR_BOUNDS)} gates:", *lines]),
                "Build it from another seed; a world with much more in it needs more steps.",
            )
        shutil.move(made, directory)
    return card


def check_organism(world: World, directory: Path) -> dict[str, float]:
    """Measures the gates of an organism anew: gate -> share; ``gates.missed`` tells which are missed.

    Raises SpecError where the folder holds no organism of this very world, EngineError where it cannot be loaded."""
    try:
        card: dict[str, Any] = json.loads((directory / CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{directory} holds no organism ({CARD_FILE}: {error}).", cure="charter organism build"
        ) from error
    if card["world_digest"] != world.digest:
        raise SpecError(
            f"{directory} was built from {card['world']} in another state than this {world.name}.",
            cure=f"Build it anew: {card['command']}",
        )
    with use_one_thread():
        return BehaviourChecker(world, load_model(directory, "cpu"), load_tokenizer(directory)).measure(SAMPLE_SIZE)


def _warm_trainer(
    world: World, seed: int, schedule: Schedule, progress: ProgressCallback, enforce: bool
) -> tuple[OrganismTrainer, int, dict[str, float]]:
    """A warmed trainer, the seed that it took, and how the warm-up ended."""
    for attempt in range(WARM_TRIES):
        used = seed + SEED_STRIDE * attempt
        trainer = OrganismTrainer(world, used, schedule)
        steps, loss = trainer.warm_up(progress)
        if loss < schedule.warm_loss or not enforce:
            return trainer, used, {"steps": steps, "loss": round(loss, 4)}
    raise OrganismError(
        f"The matching warm-up of {world.name} missed its bound from {WARM_TRIES} seeds: "
        f"loss {loss:.3f} after {steps} steps, must be below {schedule.warm_loss}.",
        "Build it from another seed.",
    )
