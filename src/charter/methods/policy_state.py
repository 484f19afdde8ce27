"""Where a method stands: the policy so far, and what is known of it. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from charter.constitution.document import Constitution
from charter.constitution.run_state import RunState
from charter.records.measurements import Measurement, Score
from charter.records.model_refs import ModelRef
from charter.records.training_rows import Example
from charter.records.verdicts import Finding


@dataclass(frozen=True, kw_only=True)
class PolicyState:
    """The policy so far, and what is known of it.

    Args:
        policy: The last accepted policy.
        constitution: The rules so far.
        history: Gate scores of the start and of each accepted policy.
        gate_measurements: Gate measurements of the start and of the last accepted policy.
        examples: Accepted revisions, as training rows.
        replayed: Replay rows.
        rehearsed: Ids of the prompts that replay asked.
        probed: Ids of the prompts that red teaming asked.
        causes: Findings of an earlier run that rules came of.
        pass_counts: In each iteration, how many revisions passed, of how many.
        stopped: Why the method ended; empty while it goes on.
    """

    policy: ModelRef
    constitution: Constitution = field(default_factory=Constitution)
    history: tuple[Sequence[Score], ...] = ()
    gate_measurements: tuple[Sequence[Measurement], ...] = ()
    examples: tuple[Example, ...] = ()
    replayed: tuple[Example, ...] = ()
    rehearsed: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    causes: tuple[Finding, ...] = ()
    pass_counts: tuple[tuple[int, int], ...] = ()
    stopped: str = ""

    @property
    def handover(self) -> RunState:
        """What a run that goes on from here needs."""
        return RunState(
            policy=self.policy,
            constitution=self.constitution,
            examples=self.examples,
            replay_rows=self.replayed,
            replay_prompt_ids=self.rehearsed,
            probed_prompt_ids=self.probed,
            findings=self.causes,
        )

    def missing_replay(self, ratio: float, fresh: int) -> int:
        """Replay rows that are missing, for ``fresh`` new examples and ``ratio`` replay rows for each example."""
        return round(ratio * (len(self.examples) + fresh)) - len(self.replayed)
