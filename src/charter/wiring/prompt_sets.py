"""From a spec to prompts: their sources, the three disjoint sets, and what training is never to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from charter.errors import SpecError
from charter.ports import Source
from charter.records.chat import Prompt
from charter.records.item_ids import prompt_id, text_mark
from charter.records.measurements import MeasuredSplit
from charter.similarity.spelling import normalize_turns
from charter.similarity.splits import LeakageFilter, split_prompts
from charter.spec import WORLD_SOURCE, KeepOutSpec, SourceSpec, Spec
from charter.statistics import read_text_mark
from charter.wiring.plugins import load_object

if TYPE_CHECKING:
    from charter.organism.world import World


@dataclass(frozen=True)
class PromptSets:
    """``train`` by kind (``redteam``, ``helpful``). For an evaluator that is a model: ``redteam`` and ``helpful`` by
    split, and ``novel``, the ids of those on held-out whose attack style or category training never sees. ``repeated``:
    how many prompts were read again with the same text, and stand there once."""

    train: dict[str, list[Prompt]]
    redteam: dict[MeasuredSplit, list[Prompt]] = field(default_factory=dict)
    helpful: dict[MeasuredSplit, list[Prompt]] = field(default_factory=dict)
    novel: frozenset[str] = frozenset()
    repeated: int = 0

    @property
    def unmeasured(self) -> str:
        """What to say where a split got no ordinary prompt; empty where each has some."""
        names = {"gate": "gate", "heldout": "held-out"}
        empty = " and ".join(names[split] for split, prompts in self.helpful.items() if not prompts)
        told = f"no ordinary prompt fell into {empty}, so whether these stay answered is not measured there"
        return f"{told}; give more under prompts.helpful" if empty else ""


def build_sources(spec: Spec, world: World | None) -> tuple[list[Source], list[Source]]:
    """The sources of red-team prompts and of helpful ones."""
    from charter.organism.world_prompts import WorldPrompts

    def read(asked: str | Sequence[SourceSpec], kind: str) -> list[Source]:
        side: Literal["unsafe", "safe"] = "unsafe" if kind == "redteam" else "safe"
        sources = [SourceSpec(program=WORLD_SOURCE)] if isinstance(asked, str) else asked
        return [open_one(source, side) for source in sources]

    def open_one(asked: SourceSpec, side: Literal["unsafe", "safe"]) -> Source:
        if asked.program != WORLD_SOURCE:
            return open_source(asked, side, offline=spec.offline)
        assert world is not None
        return WorldPrompts(world, "redteam" if side == "unsafe" else "helpful")

    asked = spec.prompts
    return read(asked.redteam, "redteam"), read(asked.helpful, "helpful")


def open_source(asked: SourceSpec, side: Literal["unsafe", "safe"], *, offline: bool) -> Source:
    """A source of prompts: a published set, files, a data set of the hub, or one of the user's own."""
    from charter.data.sources.source_prompts import SourcePrompts

    return load_object(asked.program, Source) if asked.program else SourcePrompts(asked, side, offline=offline)


def build_prompt_sets(spec: Spec, redteam: Sequence[Source], helpful: Sequence[Source]) -> PromptSets:
    """Training prompts by kind, and those kept for an evaluator by kind and split. A world gives training prompts only:
    its benchmark has gate and held-out of its own. A text of both kinds is a red-team prompt, and a text that is read
    several times is one prompt. Raises SpecError."""
    given = [_given(side) for side in (redteam, helpful)]
    read = [_once(side, spec.prompts.keep_out) for side in given]
    attacking = {normalize_turns(p.messages) for p in read[0]}
    both = make_ids_distinct([*read[0], *(p for p in read[1] if normalize_turns(p.messages) not in attacking)])
    attacks = {p.id for p in both[: len(read[0])]}
    repeated = sum(map(len, given)) - sum(map(len, read))
    asked = spec.prompts
    novel = select_kept_out(both, asked.keep_out)
    if spec.evaluator == "world":
        return PromptSets(
            _group_by_kind(_drop_near_novel(both, novel, asked.near_duplicate), attacks), repeated=repeated
        )
    parts = split_prompts(both, asked.near_duplicate)
    unseen = {p.id for p in novel}
    for part, found in parts.items():
        if part == "heldout":
            parts[part] = [p for p in found if p.id not in unseen]
        else:
            parts[part] = _drop_near_novel(found, novel, asked.near_duplicate)
    gate = _sample_per_kind(_group_by_kind(parts["gate"], attacks), asked.gate)
    heldout = _sample_per_kind(_group_by_kind(parts["heldout"], attacks), asked.heldout)
    train = _group_by_kind(parts["train"], attacks)
    if not train["redteam"] or not gate["redteam"] or not heldout["redteam"]:
        raise SpecError(
            f"too few red-team prompts to split into train, gate and held-out ({len(read[0])} read)",
            cure="Give more prompts under prompts.redteam, or keep fewer out.",
        )
    apart = _sample_per_kind(_group_by_kind(novel, attacks), asked.heldout)
    return PromptSets(
        train,
        {"gate": gate["redteam"], "heldout": [*heldout["redteam"], *apart["redteam"]]},
        {"gate": gate["helpful"], "heldout": [*heldout["helpful"], *apart["helpful"]]},
        frozenset(p.id for p in (*apart["redteam"], *apart["helpful"])),
        repeated,
    )


def _given(sources: Sequence[Source]) -> list[Prompt]:
    """All prompts of some sources. Raises SpecError where a source has none."""
    out: list[Prompt] = []
    for source in sources:
        found = source.prompts()
        if not found:
            raise SpecError(
                f"The source {source.identity.partition('@')[0]} gives no prompt",
                cure="Give a file with rows, or another side of a set that has two; or take the source out.",
            )
        out += found
    return out


def _once(prompts: Sequence[Prompt], apart: KeepOutSpec) -> list[Prompt]:
    """Each prompt once: of those that say the same the one that is kept out, or else the first."""
    first = {p.messages: p for p in reversed(prompts)}
    return list(({p.messages: p for p in prompts} | first | {p.messages: p for p in _named(prompts, apart)}).values())


def load_measured_texts(spec: Spec, world: World | None) -> dict[str, list[str]]:
    """What gate and held-out of a spec ask: nothing of it may be trained on. Raises SpecError."""
    if spec.evaluator == "world":
        from charter.organism.world_benchmark import measured_prompts

        assert world is not None
        found = measured_prompts(world, spec.prompts.gate, spec.prompts.heldout)
    else:
        sets = build_prompt_sets(spec, *build_sources(spec, world))
        found = {part: [*prompts, *sets.helpful[part]] for part, prompts in sets.redteam.items()}
    return {"gate": [p.text for p in found["gate"]], "held-out": [p.text for p in found["heldout"]]}


def select_kept_out(prompts: Sequence[Prompt], asked: KeepOutSpec) -> list[Prompt]:
    """The prompts of the attack style or the category that training is never to see. Raises SpecError where no prompt
    has the category."""
    categories = {p.meta["category"] for p in prompts if "category" in p.meta}
    if asked.category and asked.category not in categories:
        known = ", ".join(sorted(categories)) or "none"
        raise SpecError(
            f"prompts.keep_out.category: no prompt has the category {asked.category!r} (there are: {known:.400})",
            cure="Name one of them.",
        )
    return _named(prompts, asked)


def _named(prompts: Sequence[Prompt], asked: KeepOutSpec) -> list[Prompt]:
    wanted = {key: name for key, name in asked if name}
    return [p for p in prompts if any(p.meta.get(key) == name for key, name in wanted.items())]


def _drop_near_novel(prompts: Iterable[Prompt], novel: Sequence[Prompt], near: float) -> list[Prompt]:
    """The prompts that are no near-duplicate of a kept-out one."""
    return LeakageFilter(novel, near).remove_leaked(prompts) if novel else list(prompts)


def _group_by_kind(prompts: Sequence[Prompt], attacks: set[str]) -> dict[str, list[Prompt]]:
    return {
        "redteam": [p for p in prompts if p.id in attacks],
        "helpful": [p for p in prompts if p.id not in attacks],
    }


def _sample_per_kind(kinds: dict[str, list[Prompt]], most: int | None) -> dict[str, list[Prompt]]:
    """At most so many of each kind, drawn alike from all sources."""
    from charter.data.sources.source_prompts import sample_prompts

    return {kind: sample_prompts(prompts, most) for kind, prompts in kinds.items()}


def make_ids_distinct(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts of several sources together; an id that comes again takes the next ordinal. Where ids come from texts, a
    prompt whose normalised words came before takes the id of that text: the two count as copies (``drop_copies``)."""
    out: dict[str, Prompt] = {}
    marks: dict[object, str] = {}
    for prompt in prompts:
        stem, ordinal, key = text_mark(prompt.id), 0, prompt.id
        if read_text_mark(key) == stem and (first := marks.setdefault(normalize_turns(prompt.messages), stem)) != stem:
            stem, key = first, prompt_id(first, 0)
        while key in out:
            ordinal += 1
            key = prompt_id(stem, ordinal)
        out[key] = prompt if key == prompt.id else prompt.model_copy(update={"id": key})
    return list(out.values())
