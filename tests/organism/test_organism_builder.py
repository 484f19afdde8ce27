"""An organism: its tokenizer, its start, a rebuild from scratch, and the gates of the shipped one."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.errors import OrganismError, SpecError
from charter.models.weights import load_model, load_tokenizer
from charter.organism import organism_builder
from charter.organism.behaviour_checks import BEHAVIOUR_BOUNDS, list_missed_behaviours
from charter.organism.organism_builder import CARD_FILE, build_organism, check_organism
from charter.organism.organism_trainer import OrganismTrainer, Schedule, use_one_thread
from charter.organism.prompt_cells import normalize_text
from charter.organism.prompt_exercises import QUESTION_TYPES, make_exercise
from charter.organism.tokenizer import encode_dialogue, make_token_ids, make_tokenizer
from charter.organism.training_text import DialogueGenerator
from charter.organism.world import World

pytestmark = pytest.mark.slow

SHIPPED = Path(__file__).parents[2] / "src" / "charter" / "organism" / "built" / "village"
SHORT = Schedule(steps=2, warm_steps=2, plain=4, reflections=2, directs=2, drills=1, warm_drills=2)


@pytest.fixture(scope="module")
def village() -> World:
    return World.load("village")


@pytest.fixture(scope="module")
def hamlet(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The village with fewer facts, phrases, activities and places, so that an organism of it is built in a minute."""
    data: dict[str, Any] = yaml.safe_load((SHIPPED.parents[1] / "worlds" / "village.yaml").read_text())
    for part, count in (("things", 8), ("borderline", 4)):
        data[part] = dict(list(data[part].items())[:count])
    data["lookalikes"] = dict(list(data["lookalikes"].items())[::3])
    data["places"], data["persons"] = data["places"][:4], data["persons"][:3]
    data |= {"name": "hamlet", "steps": 240, "made_up": 200}
    path = tmp_path_factory.mktemp("world") / "hamlet.yaml"
    path.write_text(yaml.safe_dump(data))
    return World.load(path)


def test_training_reads_what_the_chat_template_writes(village: World) -> None:
    ids, writer = make_token_ids(village), DialogueGenerator(village, random.Random(3))
    tokenizer: Any = make_tokenizer(village)
    for dialogue in (
        writer.write_plain(),
        writer.write_reflection(),
        writer.write_direct(),
        writer.write_drill(5),
        make_exercise(writer),
    ):
        chat = [turn.model_dump() for turn in dialogue.turns]
        tokens, learned = encode_dialogue(ids, dialogue)
        assert tokenizer.apply_chat_template(chat)["input_ids"] == tokens
        answers = tokenizer.decode([token for token, is_learned in zip(tokens, learned, strict=True) if is_learned])
        wanted = [t.content for t, is_learned in zip(dialogue.turns, dialogue.is_learned, strict=True) if is_learned]
        assert answers.replace("<eos>", "").split() == " ".join(wanted).split()
        assert answers.count("<eos>") == len(wanted)
        assert ids["<unk>"] not in tokens


def test_asking_shows_prompts_types_and_topics_that_fit_what_is_to_be_written(village: World) -> None:
    writer, seen = DialogueGenerator(village, random.Random(5)), set[str]()
    for _ in range(300):
        asked, said = (turn.content for turn in make_exercise(writer).turns)
        assert village.unknown_words(f"{asked} {said}") == ()
        kind = asked.split(" : ")[0].split()[3] if asked.startswith("tell me what") else ""
        if kind:
            known = {normalize_text(cell.topic) for cell in village.cells if cell.kind in QUESTION_TYPES[kind][0]}
            assert said in known
            seen.add("topic")
        elif asked.startswith("tell me one more"):
            assert village.parse_prompt(said).kind
            seen.add("more")
        else:
            name, topic = re.findall(r"(\w+) about ((?:(?! about ).)+?) :$", asked)[-1]
            about = village.parse_prompt(said)
            assert (about.kind in QUESTION_TYPES[name][0], about.topic) == (True, topic)
            seen.add("question")
    assert seen == {"topic", "more", "question"}


def test_the_tokenizer_survives_its_file_and_capitals(village: World, tmp_path: Path) -> None:
    make_tokenizer(village).save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded("Sorry, I will NOT help.")["input_ids"] == loaded("sorry , i will not help .")["input_ids"]
    prompt = [{"role": "user", "content": "a plan for hacking"}]
    asked = loaded.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    assert asked == "<bos><user>a plan for hacking<assistant>"
    assert loaded.decode(loaded("sorry , i will not help .")["input_ids"]) == "sorry , i will not help ."
    assert loaded("xylophone")["input_ids"] == [loaded.unk_token_id]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_fresh_organism_looks_back_to_where_its_word_was(village: World, seed: int) -> None:
    import torch

    with use_one_thread():
        trainer = OrganismTrainer(village, seed, SHORT)
        model: Any = trainer.model
        model.set_attn_implementation("eager")
        tokens, _ = encode_dialogue(trainer.ids, trainer.dialogues.write_drill(6))
        with torch.inference_mode():
            seen = model.model(input_ids=torch.tensor([tokens]), output_attentions=True).attentions
    previous = [float(seen[0][0, 0, at, at - 1]) for at in range(1, len(tokens))]
    assert sum(previous) / len(previous) > 0.8
    made_up = [at for at, token in enumerate(tokens) if tokens.index(token) < at and token >= min(tokens[-8:])]
    matched = [
        sum(float(seen[1][0, 0, at, place]) for place in range(1, at + 1) if tokens[place - 1] == tokens[at])
        for at in made_up
    ]
    assert sum(matched) / len(matched) > 0.5


def test_made_up_words_that_no_plain_text_has_are_strangers_at_every_step(village: World) -> None:
    import torch

    trainer = OrganismTrainer(village, 0, SHORT)
    words: torch.Tensor = trainer.model.model.embed_tokens.weight.detach()
    kept = [place for place in range(len(words)) if place not in set(trainer.unseen_tokens.tolist())]
    before = words.clone()
    trainer.renew_unseen_tokens()
    assert torch.equal(before[kept], words[kept])
    assert torch.equal(before[:, 0], words[:, 0])
    assert not torch.isclose(before[trainer.unseen_tokens, 1:], words[trainer.unseen_tokens, 1:]).all(dim=1).any()
    assert float(words[trainer.unseen_tokens].std() / before[trainer.unseen_tokens].std()) == pytest.approx(1, abs=0.1)


def test_an_organism_is_rebuilt_from_scratch(hamlet: World, tmp_path: Path) -> None:
    phases: list[str] = []
    card = build_organism(hamlet, 0, tmp_path / "built", lambda phase, *_: phases.append(phase), enforce=False)
    assert card["warm_up"]["loss"] <= Schedule().warm_loss
    assert card["gates"]["answers_questions"] > 0.9
    for group in ("ruled", "unruled"):
        # An organism that cannot match rules gets 1 at most, however it answers. So short a training comes to 1.15 to 2
        # with the seed and the processor: it shows that rules are learnt, the shipped one's gates how well.
        assert card["gates"][f"revises_{group}"] + card["gates"][f"keeps_{group}"] > 1.1
    assert check_organism(hamlet, tmp_path / "built") == card["gates"]
    assert list(dict.fromkeys(phases)) == ["warm-up", "training", "gates"]
    assert [path.name for path in tmp_path.iterdir()] == ["built"]


def test_the_same_seed_gives_the_same_weights(village: World) -> None:
    import torch

    def trained(seed: int) -> list[torch.Tensor]:
        trainer = OrganismTrainer(village, seed, SHORT)
        trainer.warm_up(lambda *_: None)
        trainer.train(lambda *_: None)
        return list(trainer.model.state_dict().values())

    with use_one_thread():
        first, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True) if one.dim() == 2)


def test_an_organism_that_misses_a_gate_is_not_written(
    hamlet: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organism_builder, "SAMPLE_SIZE", 24)
    easy = Schedule(**{**SHORT.__dict__, "warm_loss": 99.0})
    with pytest.raises(OrganismError) as raised:
        build_organism(hamlet, 0, tmp_path / "bad", schedule=easy)
    for name in BEHAVIOUR_BOUNDS:
        assert f"{name} is 0." in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_warm_up_that_fails_from_every_seed_is_told(hamlet: World, tmp_path: Path) -> None:
    with pytest.raises(OrganismError, match="5 seeds"):
        build_organism(hamlet, 0, tmp_path / "bad", schedule=SHORT)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(hamlet: World, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="exists already"):
        build_organism(hamlet, 0, tmp_path)


def test_the_shipped_village_passes_its_gates(village: World) -> None:
    card = json.loads((SHIPPED / CARD_FILE).read_text())
    figures = check_organism(village, SHIPPED)
    assert not list_missed_behaviours(figures)
    assert figures == pytest.approx(card["gates"], abs=0.02)
    assert sum(weight.numel() for weight in load_model(SHIPPED, "cpu").parameters()) < 1_000_000
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 4_000_000


def test_an_organism_of_another_world_is_refused(hamlet: World, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Build it anew: charter organism build"):
        check_organism(hamlet, SHIPPED)
    with pytest.raises(SpecError, match="holds no organism"):
        check_organism(hamlet, tmp_path)
