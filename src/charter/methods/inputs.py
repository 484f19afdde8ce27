"""What every method is given: whom to align, with which prompts, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from charter.constitution.document import Constitution, extract_norms
from charter.constitution.exemplars import Exemplar
from charter.constitution.run_state import RunState
from charter.data.instructing.instruction_records import SelfInstructInputs
from charter.judging.rubrics import CONDUCT, HELP, REPLAY, Rubric
from charter.records.chat import Prompt, Sampling
from charter.records.model_refs import ModelRef
from charter.records.preferences import ResponsePair
from charter.records.rules import Norm
from charter.records.templates import Templates
from charter.records.training_rows import Example, RatedAnswer
from charter.similarity.splits import LeakageFilter
from charter.spec import JudgingSpec, MethodOptions
from charter.stages.curate import CurationSetup


@dataclass(frozen=True, kw_only=True)
class PrincipleInputs:
    """What the methods that begin with rules are given besides.

    Args:
        exemplars: Thoughts and answers that the target is shown.
        instructions: What self-instruct begins with; None where it writes nothing.
        generated_prompts: Prompts that self-instruct wrote in an earlier step.
        rows: Training rows of files.
        tuning_base: The model to be tuned; None for the starting model.
        samples: Answers to each prompt of replay.
    """

    exemplars: Sequence[Exemplar] = ()
    instructions: SelfInstructInputs | None = None
    generated_prompts: tuple[Prompt, ...] = ()
    rows: tuple[Example, ...] = ()
    tuning_base: ModelRef | None = None
    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a method is given; each method reads what it needs.

    Args:
        start: The model to be aligned.
        redteam: Prompts that the model is red teamed with.
        helpful: Ordinary prompts, for replay.
        guard: Knows the gate and held-out prompts, which nothing may come close to.
        templates: What is said to models.
        answers: How the model's answers are sampled.
        critiques: How its critiques are sampled.
        options: The switches of the method.
        rubric: What conduct is judged by.
        given: What the run goes on from, if it goes on from another one.
        curation: What training rows are filtered with; None where they are not.
        constitution: The rules that the method begins with.
        pairs: What people preferred.
        ratings: Answers that people found good or bad by themselves.
        near_duplicate: From which similarity on two prompts belong to one split.
        principles: What the methods that begin with rules are given besides.
    """

    start: ModelRef
    redteam: Sequence[Prompt]
    helpful: Sequence[Prompt] = ()
    guard: LeakageFilter
    templates: Templates
    answers: Sampling
    critiques: Sampling = field(default_factory=Sampling)
    options: MethodOptions
    rubric: Rubric = CONDUCT
    given: RunState | None = None
    curation: CurationSetup | None = None
    constitution: Constitution = field(default_factory=Constitution)
    pairs: Sequence[ResponsePair] = ()
    ratings: Sequence[RatedAnswer] = ()
    near_duplicate: float = 1.0
    principles: PrincipleInputs = field(default_factory=PrincipleInputs)

    @property
    def norms(self) -> tuple[Norm, ...]:
        """What people decided, in a run that goes on from another one."""
        return extract_norms(self.given.constitution) if self.given is not None else ()

    @property
    def helpfulness_rubric(self) -> Rubric:
        """Whether a response helps, under what people decided."""
        return HELP.model_copy(update={"norms": self.norms})

    @property
    def replay_rubric(self) -> Rubric:
        """Whether a harmless request is answered well, under what people decided."""
        return REPLAY.model_copy(update={"norms": self.norms})

    def judge_arguments(self, rubric: Rubric | None = None) -> tuple[Rubric, Templates, JudgingSpec]:
        """The last arguments of a judging stage: by ``rubric``, or by the rubric of conduct."""
        return rubric or self.rubric, self.templates, self.options.judge
