"""Training an organism: a matching warm-up, then all exercises together. One thread, and a function of the seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charter.organism.initial_model import make_structured_llama
from charter.organism.prompt_exercises import make_exercise
from charter.organism.tokenizer import BOS, EOS, PAD, encode_dialogue, make_token_ids
from charter.organism.training_text import PLAIN_MADE_UP_COUNT, DialogueGenerator, TrainingDialogue
from charter.organism.world import World

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

ProgressCallback = Callable[[str, int, int], None]  # phase, steps done, steps in all
ADAM_BETAS, WEIGHT_DECAY, MAX_GRAD_NORM = (0.9, 0.98), 0.01, 1.0


@dataclass(frozen=True)
class Schedule:
    """How long to train, and on how many dialogues a step. Below ``warm_loss`` (nats a verdict) the warm-up is done."""

    steps: int = 900
    plain: int = 36
    reflections: int = 12
    directs: int = 12
    drills: int = 2
    asks: int = 0
    rate: float = 2e-3
    word_pace: float = 0.15
    warm_rate: float = 1e-3
    warm_steps: int = 120
    warm_drills: int = 24
    warm_loss: float = 0.12


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Torch on one thread, so that sums are taken in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class OrganismTrainer:
    """A model being trained; ``loss_history`` holds one value per step."""

    def __init__(self, world: World, seed: int, schedule: Schedule) -> None:
        import torch

        self.schedule, self.ids = schedule, make_token_ids(world)
        self.dialogues = DialogueGenerator(world, random.Random(seed))
        special = {"pad": self.ids[PAD], "bos": self.ids[BOS], "eos": self.ids[EOS]}
        self.model: LlamaForCausalLM = make_structured_llama(
            len(self.ids), special, torch.Generator().manual_seed(seed)
        )
        self.verdict_ids = {self.ids[world.file.critiques.breaks], self.ids[world.file.critiques.follows]}
        # Words learn slowly, so that their random starts keep telling them apart, also those that no rule ever names.
        embeddings: torch.Tensor = self.model.model.embed_tokens.weight
        others = [weight for weight in self.model.parameters() if weight is not embeddings]
        groups = [{"params": others, "pace": 1.0}, {"params": [embeddings], "pace": schedule.word_pace}]
        self.optimizer = torch.optim.AdamW(groups, betas=ADAM_BETAS, weight_decay=WEIGHT_DECAY)
        self.unseen_tokens = torch.tensor([self.ids[word] for word in world.made_up_words[PLAIN_MADE_UP_COUNT:]])
        self.first_vectors = embeddings.detach()[self.unseen_tokens].clone()
        self.generator = torch.Generator().manual_seed(seed)

    def warm_up(self, progress: ProgressCallback) -> tuple[int, float]:
        """Drills, with the loss on the verdicts alone, until a smoothed loss is below the bound; (steps, that loss)."""
        smooth, schedule = math.log(2), self.schedule
        for step in range(1, schedule.warm_steps + 1):
            hard = min(2 + step // 10, 6)
            drills = [self.dialogues.write_drill(hard) for _ in range(schedule.warm_drills)]
            loss = self._train_step(
                [self._to_tensors(drills, only=self.verdict_ids)], schedule.warm_rate * min(1.0, step / 10)
            )
            smooth = 0.7 * smooth + 0.3 * loss
            progress("warm-up", step, schedule.warm_steps)
            if smooth < schedule.warm_loss and hard == 6:
                break
        return step, smooth

    def renew_unseen_tokens(self) -> None:
        """Gives new vectors to the made-up words that no plain text has, so that matching is learned for any word at
        all and not for those words alone: mixtures of their first vectors, alike in size and in what they leave
        free."""
        import torch

        count = len(self.unseen_tokens)
        fresh = torch.randn(count, count, generator=self.generator) @ self.first_vectors / math.sqrt(count)
        fresh[:, 0] = self.first_vectors[:, 0]
        with torch.no_grad():
            self.model.model.embed_tokens.weight[self.unseen_tokens] = fresh

    def train(self, progress: ProgressCallback) -> float:
        """All exercises together, with a cosine rate; the mean loss of the last 20 steps."""
        schedule, writer, last = self.schedule, self.dialogues, []
        for step in range(schedule.steps):
            self.renew_unseen_tokens()
            ramp, share = min(1.0, (step + 1) / 10), step / schedule.steps
            rate = schedule.rate * ramp * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
            plain = [writer.write_plain() for _ in range(schedule.plain)]
            long = [writer.write_reflection() for _ in range(schedule.reflections)]
            middle = [writer.write_direct() for _ in range(schedule.directs)]
            drills = [writer.write_drill(writer.draw.randint(4, 12)) for _ in range(schedule.drills)]
            asks = [make_exercise(writer) for _ in range(schedule.asks)]
            parts = [self._to_tensors(part) for part in (plain, middle, long, asks) if part]
            last.append(self._train_step([*parts, self._to_tensors(drills, only=self.verdict_ids)], rate))
            progress("training", step + 1, schedule.steps)
        return sum(last[-20:]) / len(last[-20:])

    def _to_tensors(
        self, dialogues: list[TrainingDialogue], only: Iterable[int] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Right-padded tokens (rows x length), and which of them are learned (same shape; never the first column)."""
        import torch

        encoded = [encode_dialogue(self.ids, dialogue) for dialogue in dialogues]
        length, wanted = max(len(tokens) for tokens, _ in encoded), frozenset(only)
        tokens = torch.full((len(encoded), length), self.ids[PAD])
        learned = torch.zeros((len(encoded), length), dtype=torch.bool)
        for row, (ids, mask) in enumerate(encoded):
            tokens[row, : len(ids)] = torch.tensor(ids)
            learned[row, : len(ids)] = torch.tensor(
                [m and (not wanted or i in wanted) for i, m in zip(ids, mask, strict=True)]
            )
        return tokens, learned

    def _train_step(self, parts: list[tuple[torch.Tensor, torch.Tensor]], rate: float) -> float:
        """One optimiser step over all parts; the mean loss per learned token, in nats."""
        import torch

        total = sum(int(learned.sum()) for _, learned in parts)
        value = 0.0
        for tokens, learned in parts:
            hidden = self.model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1][learned[:, 1:]]
            logits = self.model.lm_head(hidden)
            loss = torch.nn.functional.cross_entropy(logits, tokens[:, 1:][learned[:, 1:]], reduction="sum") / total
            loss.backward()  # type: ignore[no-untyped-call]
            value += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["pace"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value
