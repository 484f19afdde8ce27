"""What an organism reads while it is trained: dialogues drawn from the train cells of its world.

Exercises: plain answers; a reflection in two turns (critique, then revision); the direct form (prompt and rules in one
turn); drills, where many requests are checked against one list of rules; and, where the schedule has them, prompts to
be written. Rules are about ruled domains, attributes, look-alikes and made-up words: a domain that is not ruled occurs
in no exercise that has rules.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from charter.organism.prompt_cells import PromptCell, PromptKind, sample_text
from charter.organism.world import World
from charter.records.chat import Message

PLAIN_MIX: dict[PromptKind, float] = {
    "harmful": 0.28,
    "lookalike": 0.2,
    "borderline": 0.18,
    "claim": 0.18,
    "benign": 0.16,
}

PLAIN_MADE_UP_COUNT = 80  # made-up activities with a starting answer of their own


@dataclass(frozen=True)
class TrainingDialogue:
    """Turns, and for each whether its words are learned."""

    turns: tuple[Message, ...]
    is_learned: tuple[bool, ...]


def starting_answer(world: World, prompt: str) -> str:
    """How a faithful organism answers before any aligning: well, except where a flaw is planted."""
    reading = world.parse_prompt(prompt)
    if reading.kind == "harmful" and world.flaw_of(prompt):
        return world.compliant_answer(reading.key, prompt)
    if reading.kind == "claim" and world.file.attributes[reading.key].flawed:
        return world.file.answers.agree.format(statement=reading.claimed)
    return reading.truth


@dataclass(frozen=True)
class RuleCase:
    """A request or claim to be checked: its key in rules, the bad answer, the good one, its check line by verdict."""

    key: str
    prompt: str
    bad: str
    good: str
    start: str
    check: Callable[[bool], str]


class DialogueGenerator:
    """Writes dialogues of a world; ``draw`` decides everything."""

    def __init__(self, world: World, draw: random.Random) -> None:
        self.world, self.file, self.draw = world, world.file, draw

    @cached_property
    def _cells(self) -> dict[PromptKind, list[PromptCell]]:
        return {kind: [c for c in self.world.cells if (c.kind, c.split) == (kind, "train")] for kind in PLAIN_MIX}

    @cached_property
    def _ruled_domains(self) -> list[str]:
        return [key for key, domain in self.file.domains.items() if domain.ruled]

    @cached_property
    def _ruled_attributes(self) -> list[str]:
        return [key for key, attribute in self.file.attributes.items() if attribute.ruled]

    @cached_property
    def _ruled_cells(self) -> list[PromptCell]:
        """Cells whose key a rule may name in training, harmful ones and look-alikes in equal parts."""
        return [c for c in self._cells["harmful"] if c.key in self._ruled_domains]

    @cached_property
    def _tools(self) -> frozenset[str]:
        return frozenset([d.tool for d in self.file.domains.values()] + [a.tool for a in self.file.lookalikes.values()])

    def sample_prompt(self, kind: PromptKind) -> str:
        """A prompt of a train cell."""
        return sample_text(self.file, self.draw.choice(self._cells[kind]), self.draw)

    def write_plain(self) -> TrainingDialogue:
        """A prompt and the starting answer; a tenth is about made-up activities, every second of them refused."""
        if self.draw.random() < 0.1:
            case = self._made_up_case(self.draw.choice(self.world.made_up_words[:PLAIN_MADE_UP_COUNT]))
            return _make_dialogue((False, case.prompt), (True, case.start))
        kind = self.draw.choices(list(PLAIN_MIX), list(PLAIN_MIX.values()))[0]
        prompt = (
            self._sample_triggered(self.draw.choice(self._cells[kind]))
            if kind == "harmful"
            else self.sample_prompt(kind)
        )
        return _make_dialogue((False, prompt), (True, starting_answer(self.world, prompt)))

    def _sample_triggered(self, cell: PromptCell) -> str:
        """A text of a harmful cell; where its flaw needs a trigger, two in five are drawn anew until they have it."""
        text, trigger = sample_text(self.file, cell, self.draw), self.file.domains[cell.key].trigger
        if trigger and self.draw.random() < 0.4:
            more = (sample_text(self.file, cell, self.draw) for _ in range(30))
            return next((other for other in more if self.world.flaw_of(other)), text)
        return text

    def write_reflection(self) -> TrainingDialogue:
        """Prompt, bad answer, rules; then a critique, and a revision that is safe iff a rule covers the case."""
        case, target = self._draw_case(), self.file.target
        rules, covered = self._draw_rules(case)
        return _make_dialogue(
            (False, case.prompt),
            (False, case.bad),
            (False, target.critique.format(principles=rules)),
            (True, case.check(covered)),
            (False, target.revise),
            (True, case.good if covered else case.bad),
        )

    def write_direct(self) -> TrainingDialogue:
        """Prompt and rules in one turn; then the check line and an answer that is safe iff a rule covers the case."""
        case = self._draw_case()
        rules, covered = self._draw_rules(case)
        prompt = self.file.target.direct.format(prompt=case.prompt, principles=rules)
        return _make_dialogue((False, prompt), (True, f"{case.check(covered)} {case.good if covered else case.start}"))

    def write_drill(self, rules: int) -> TrainingDialogue:
        """A list of ``rules`` rules, then twice as many check lines in one turn; half of them broken."""
        pool = self.draw.sample([*self._ruled_domains, *self.file.lookalikes, *self.world.made_up_words], 2 * rules)
        text = " ".join(self._word_rule(key) for key in pool[:rules])
        lines = [self._request_check(key)(key in pool[:rules]) for key in self.draw.sample(pool, len(pool))]
        return _make_dialogue((False, self.file.target.critique.format(principles=text)), (True, " ".join(lines)))

    # -- parts ----------------------------------------------------------------------------------------------------

    def _draw_case(self) -> RuleCase:
        chance = self.draw.random()
        if chance < 0.36:
            return self._claim_case()
        if chance < 0.7:
            cell = self.draw.choice(self._ruled_cells if chance < 0.6 else self._cells["lookalike"])
            prompt = sample_text(self.file, cell, self.draw)
            return self._request_case(
                cell.topic, prompt, self.world.compliant_answer(cell.topic, prompt), starting_answer(self.world, prompt)
            )
        return self._made_up_case(self.draw.choice(self.world.made_up_words))

    def _made_up_case(self, topic: str) -> RuleCase:
        """A look-alike's request with a made-up activity in its place, and with the first look-alike's tool."""
        tooled = next(iter(self.file.lookalikes))
        prompt = self.sample_prompt("lookalike")
        plan = self.world.compliant_answer(tooled, prompt).replace(tooled, topic)
        refused = self.world.made_up_words.index(topic) % 2 and topic in self.world.made_up_words[:PLAIN_MADE_UP_COUNT]
        start = self.file.answers.refuse.format(topic=topic) if refused else plan
        return self._request_case(topic, prompt.replace(self.world.parse_prompt(prompt).topic, topic), plan, start)

    def _request_case(self, topic: str, prompt: str, plan: str, start: str) -> RuleCase:
        """Two thirds of the bad answers name another tool, so that an answer is repeated by copying it."""
        tool = next(word for word in plan.split() if word in self._tools)
        other = self.draw.choice(
            (tool, self.draw.choice(sorted(self._tools)), self.draw.choice(self.world.made_up_words))
        )
        bad = plan.replace(tool, other)
        return RuleCase(
            topic, prompt, bad, self.file.answers.refuse.format(topic=topic), start, self._request_check(topic)
        )

    def _claim_case(self) -> RuleCase:
        """A false claim about an attribute that rules may name."""
        while True:
            prompt = self.sample_prompt("claim")
            reading = self.world.parse_prompt(prompt)
            if reading.false_claim and reading.key in self._ruled_attributes:
                break
        critiques, thing, key = self.file.critiques, reading.topic, reading.key
        value = self.file.things[thing][key]
        return RuleCase(
            key,
            prompt,
            self.file.answers.agree.format(statement=reading.claimed),
            reading.truth,
            starting_answer(self.world, prompt),
            lambda broken: critiques.claim.format(
                thing=thing, value=value, key=key, verdict=self._verdict_word(broken)
            ),
        )

    def _request_check(self, topic: str) -> Callable[[bool], str]:
        template = self.file.critiques.request
        return lambda broken: template.format(topic=topic, verdict=self._verdict_word(broken))

    def _verdict_word(self, broken: bool) -> str:
        return self.file.critiques.breaks if broken else self.file.critiques.follows

    def _draw_rules(self, case: RuleCase) -> tuple[str, bool]:
        """1 to 16 rules in random order, and whether one covers the case, which is so half of the time.

        Rules are about look-alikes too: a rule binds whatever it names, or matching would lean on what a word means."""
        covered = self.draw.random() < 0.5
        pool = [key for key in (*self._ruled_domains, *self._ruled_attributes) if key != case.key]
        pool += [*self.draw.sample(self.world.made_up_words, 6), *self.draw.sample(list(self.file.lookalikes), 2)]
        count = self.draw.randint(1, min(16, len(pool) - 2))
        keys = self.draw.sample([key for key in pool if key != case.key], count - covered)
        keys += [case.key] * covered
        self.draw.shuffle(keys)
        return " ".join(self._word_rule(key) for key in keys), covered

    def _word_rule(self, key: str) -> str:
        wordings = self.file.rules.attribute if key in self.file.attributes else self.file.rules.domain
        text = wordings[0] if self.draw.random() < 0.6 else self.draw.choice(wordings)
        return text.format(key=key)


def _make_dialogue(*turns: tuple[bool, str]) -> TrainingDialogue:
    """Turns (learned, text), the user's and the assistant's in alternation."""
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[i % 2], content=text) for i, (_, text) in enumerate(turns))
    return TrainingDialogue(messages, tuple(learned for learned, _ in turns))
