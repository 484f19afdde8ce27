"""A finished run's starting model and its aligned one, asked the same. Nothing that is said is kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

from charter.errors import SpecError
from charter.jobs.audit_job import read_final_policy
from charter.records.chat import Message, Request
from charter.records.model_refs import ModelRef
from charter.records.record import Record
from charter.runs.reader import RunReader
from charter.wiring import role_models
from charter.wiring.offline import block_network
from charter.wiring.scales import choose_scale, use_scale
from charter.wiring.targets import Targets

MAX_ANSWER_TOKENS = 256
"""The most tokens of an answer, also where the run allows more."""
LONGEST_PROMPT = 8_000
"""Characters of a prompt."""


class ChatAnswers(Record):
    """What both models say to one prompt; in place of an answer that failed stands why."""

    base: str
    aligned: str


class RunChat:
    """Both models of a run, opened as the run opened them. They answer as they did in the run: with its sampling, and
    with the seed 0. Weights load with the first prompt.

    Raises StoreError where the run has no policy yet; SpecError where its target answers elsewhere, so that no weights
    are at hand; EngineError, DamagedError."""

    def __init__(self, directory: Path) -> None:
        spec = RunReader(directory).spec
        if spec.target.by_http:
            raise SpecError(f"the target of {directory} answers over HTTP", cure="Ask it where it is served.")
        self._aligned = read_final_policy(directory)
        self._base = role_models.resolve_start(spec, role_models.load_world(spec), self._aligned.revision)
        spec = use_scale(role_models.fix_date(spec, self._base), choose_scale(spec, self._base))
        self._offline = spec.offline
        self._sampling = role_models.answer_sampling(spec, min(spec.scale.answer_tokens, MAX_ANSWER_TOKENS))
        self._folder = tempfile.TemporaryDirectory(prefix="charter-chat-")
        self._targets = Targets(spec, self._base, Path(self._folder.name))

    def ask_both(self, prompt: str) -> ChatAnswers:
        """The answers to a prompt of one turn. Raises SpecError where it is empty or too long, EngineError."""
        if not prompt.strip() or len(prompt) > LONGEST_PROMPT:
            raise SpecError("no prompt", cure=f"Say something, in at most {LONGEST_PROMPT:,} characters.")
        with block_network(self._offline):
            return ChatAnswers(base=self._ask(self._base, prompt), aligned=self._ask(self._aligned, prompt))

    def close(self) -> None:
        """Ends servers, and removes what they left."""
        self._targets.close()
        self._folder.cleanup()

    def _ask(self, policy: ModelRef, prompt: str) -> str:
        with self._targets.open_engine(policy) as engine:
            said = Message(role="user", content=prompt)
            (completion,) = engine.generate([Request(id="chat", messages=(said,), sampling=self._sampling)])
        return f"({completion.failure})" if completion.failure else completion.text
