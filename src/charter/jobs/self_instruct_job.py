"""Self-instruct: its seeds and question types, whom they are shown to, and a run of it alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from charter.data.instructing.instruction_records import (
    SelfInstructInputs,
    SelfInstructResult,
)
from charter.jobs.job import finish_run
from charter.ports import Engine
from charter.similarity.splits import LeakageFilter
from charter.spec import Spec
from charter.wiring import role_models
from charter.wiring.self_instruct_inputs import build_instructions, load_protected_prompts, max_calls, max_prompts
from charter.wiring.targets import SERVER_DIR, Targets

if TYPE_CHECKING:
    from charter.runs import Run


PROMPTS_FILE = "prompts.jsonl"
"""What a run leaves for others to read: a prompt a line, with its question type as category where it has one."""


class SelfInstructJob:
    """The live objects of a spec whose method is ``self_instruct``; files are read at once."""

    def __init__(self, spec: Spec, revision: str = "") -> None:
        self.spec, self.options = spec, spec.options.instruct
        self.world = role_models.load_world(spec)
        guard = LeakageFilter(load_protected_prompts(spec, self.world), spec.prompts.near_duplicate)
        self.given = build_instructions(spec, self.world, role_models.build_templates(spec, self.world), guard)
        self.start = role_models.resolve_start(spec, self.world, revision) if self.target_generates else None
        if self.start is not None:
            self.spec = spec = role_models.fix_date(spec, self.start)
        asked = {} if self.target_generates else {"proposer": spec.proposer or spec.oracle}
        self.price = role_models.find_prices(asked, spec.budget).get("proposer", role_models.FREE)

    @property
    def target_generates(self) -> bool:
        """Whether the target writes its own prompts."""
        return self.options.generator == "target"

    def describe(self) -> dict[str, Any]:
        """The target, where it is the one that writes."""
        return role_models.describe_target(self.spec, self.start) if self.start is not None else {}

    def prepare(self) -> Sequence[str]:
        """Nothing: all files are read already."""
        return ()

    def execute(self, run: Run) -> None:
        """Writes the prompts, publishes them, and finishes the run."""
        found = self._generate_prompts(run)
        outcome = {
            "method": "self_instruct",
            "world": self.spec.world or None,
            "prompts": len(found.prompts),
            "supervision": count_supervision(self.given),
        }
        finish_run(run, outcome, {PROMPTS_FILE: prompts_to_jsonl(found)})

    def _generate_prompts(self, run: Run) -> SelfInstructResult:
        from charter.methods.self_instruct import self_instruct

        writer: Engine
        with ExitStack() as opened:
            if self.start is not None:
                targets = opened.enter_context(closing(Targets(self.spec, self.start, run.directory / SERVER_DIR)))
                writer = opened.enter_context(targets.open_metered(run, self.start))
            else:
                asked = self.spec.proposer or self.spec.oracle
                oracle = opened.enter_context(role_models.open_oracle(self.spec, asked, self.world))
                writer = run.meter_engine(oracle, "proposer", "aligning", self.price)
            return self_instruct(run.steps("000"), writer, self.given)

    def forecast(self) -> dict[str, Any]:
        """What would be asked at most."""
        calls = max_calls(self.given)
        return {
            "method": "self_instruct",
            "generator": self.options.generator,
            "seeds": len(self.given.seeds),
            "calls_at_most": calls,
            "calls": sum(calls.values()),
            "prompts_at_most": max_prompts(self.given),
            "tokens_to_generate_at_most": sum(calls.values()) * self.options.max_tokens,
        }


def count_supervision(given: SelfInstructInputs) -> dict[str, int]:
    """What people wrote for it, in lines."""
    return {"seeds": len(given.seeds), "question types": len(given.types)}


def prompts_to_jsonl(found: SelfInstructResult) -> str:
    """Prompts as JSONL, for ``prompts.redteam`` or ``prompts.helpful`` of another run."""
    rows = [{"prompt": p.text, "category": p.meta.get("category", ""), "id": p.id} for p in found.prompts]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
