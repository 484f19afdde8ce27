"""A world's prompts as sources: its red-team mix, and its ordinary helpful questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from charter.organism.world import World
from charter.records.chat import Prompt
from charter.records.measurements import Split


class WorldPrompts:
    """Prompts of one split of a world, behind ``ports.Source``. They carry no truth: ids come from the texts."""

    def __init__(self, world: World, kind: Literal["redteam", "helpful"], split: Split = "train") -> None:
        self._world, self._kind, self._split = world, kind, split

    @property
    def identity(self) -> str:
        """World with its digest, the kind and the split."""
        return f"world:{self._world.name}@{self._world.digest[:12]} {self._kind} {self._split}"

    def prompts(self) -> Sequence[Prompt]:
        """Every prompt, in the world's fixed order."""
        made = (
            self._world.redteam_prompts(self._split)
            if self._kind == "redteam"
            else self._world.helpful_prompts(self._split)
        )
        return tuple(made)
