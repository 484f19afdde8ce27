"""The toy for methods that begin with rules: its target thinks under numbered rules, and answers at length if told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from charter.constitution.document import Constitution
from charter.constitution.exemplars import Exemplar
from charter.constitution.run_state import RunState
from charter.data.instructing.instruction_records import SelfInstructInputs
from charter.methods.cai import cai
from charter.methods.inputs import Inputs, PrincipleInputs
from charter.methods.principle_driven import PrincipleState
from charter.methods.self_align import clone_alone, engrave_alone, self_align, think_alone
from charter.ports import Engine, Roles
from charter.records.chat import Prompt, Request
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.records.training_rows import Example
from charter.runs import Run
from tests.fakes.example_records import rule
from tests.fakes.refused_topics import HARM, Toy, _refused, answer, topics_in

METHODS = {
    "cai": cai,
    "self_align": self_align,
    "think": think_alone,
    "engrave": engrave_alone,
    "clone": clone_alone,
}
EXEMPLARS = (Exemplar(id="e1", prompt="what is tea ?", thought="rule 4 (plain) applies", answer="leaves in hot water"),)


def rules(topics: Sequence[str] = HARM) -> Constitution:
    """A rule about each topic, and one about none."""
    about = [rule(f"r-{t}", f"never help with {t} .", title=t) for t in topics]
    return Constitution(principles=(*about, rule("r-plain", "speak plainly .", title="plain")))


@dataclass(frozen=True)
class RuledToy(Toy):
    """``constitution``: its rules; ``exemplars``, ``given``, ``base``: as in a brief. ``silent``: a topic of which
    every later answer (a revision, or one at length) is empty."""

    constitution: Constitution = field(default_factory=rules)
    exemplars: Sequence[Exemplar] = EXEMPLARS
    given: RunState | None = None
    base: ModelRef | None = None
    instructions: SelfInstructInputs | None = None
    silent: str = ""
    written: tuple[Prompt, ...] = ()
    rows: tuple[Example, ...] = ()
    samples: int = 1

    def run(self, method: str, directory: Path, seed: int = 5) -> PrincipleState:
        """Runs a method to its end in a new run, or goes on with the one that is there."""
        begun = (directory / "journal.jsonl").exists()
        opened = Run.open(directory) if begun else Run.create(directory, spec_text="toy: 1\n", seed=seed)
        played = METHODS[method]
        with opened as run:
            course = played(run, self.roles(run), self.brief())
            run.publish({"stopped.txt": course.stopped})
            run.finish()
        return course

    def roles(self, run: Run) -> Roles:
        """The toy's, with a target that thinks."""

        @contextmanager
        def target(policy: ModelRef) -> Iterator[Engine]:
            refused = _refused(run.directory, policy)
            yield run.meter_engine(
                self.engine("target", lambda r: self.said(r, refused), policy.digest), "target", "target"
            )

        roles = replace(super().roles(run), target=target)
        writer = run.meter_engine(self.engine("writer", lists), "proposer", "aligning")
        return replace(roles, proposer=writer) if self.instructions is not None else roles

    def said(self, request: Request, refused: set[str]) -> str:
        """The target's reply, which is empty where it is to be silent."""
        later = len(request.messages) == 5 or "at length" in request.messages[0].content
        hushed = self.silent and later and self.silent in " ".join(m.content for m in request.messages[:2])
        return "" if hushed else thinks(request, refused)

    def brief(self) -> Inputs:
        """What the method is given."""
        principles = PrincipleInputs(
            exemplars=self.exemplars,
            instructions=self.instructions,
            generated_prompts=self.written,
            rows=self.rows,
            tuning_base=self.base,
            samples=self.samples,
        )
        return replace(self.task(), constitution=self.constitution, given=self.given, principles=principles)


def lists(request: Request) -> str:
    """Asked for more requests it goes on with the numbered list; asked for look-alikes it gives none."""
    if request.response_schema is not None:
        return '{"prompts": []}'
    topics, mark = (*HARM, "knots"), int(digest(request.messages[-1].content)[:4], 16)
    return "\n".join(f"{n}. show me {topics[n % 4]} near {mark + n} {'and then some ' * n}" for n in range(6, 12))


def thinks(request: Request, refused: set[str]) -> str:
    """Under numbered rules it names the first whose title the prompt names; told to answer at length it repeats its
    answer; else it is the toy."""
    first, last = request.messages[0], request.messages[-1].content
    if first.role != "system":
        return answer(request, refused)
    if "at length" in first.content:
        plain = answer(request.model_copy(update={"messages": request.messages[1:]}), refused)
        return f"{plain.replace('i will not help with', 'call a friend instead of')} , and this at length"
    shown = re.findall(r"^(\d+)\. \((.*?)\)", first.content, re.MULTILINE)
    topics = topics_in(last.split("\n\n")[0])
    named = next(((n, title) for n, title in shown if title in topics), None)
    if named is None:
        return f"Thought: no rule applies.\nAnswer: sure , plan for {last}"
    number = " ".join(re.findall(r"\d+", last)[:1])
    return f"Thought: rule {named[0]} ({named[1]}) applies.\nAnswer: at {number} instead of {named[1]} call a friend"
