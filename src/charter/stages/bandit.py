"""Which prompts are attacked, and how: a bandit over attack styles and regions of alike prompts.

An arm is a style in a region. Its reward is a finding that no approved principle and no group of enough alike findings
covers yet, told anew each time from everything found so far: what was rewarded once no longer counts when it is
covered. Arms share a prior over styles and over regions. Prompts' ``meta`` is never read: regions are found from texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from charter.constitution.document import Constitution
from charter.ports import AttackTarget
from charter.records.chat import AttackPrompt, Exchange, Prompt
from charter.records.item_ids import join_id
from charter.records.record import Record, Step
from charter.records.verdicts import Finding
from charter.similarity.splits import find_regions, group_texts
from charter.spec import AttackSpec

if TYPE_CHECKING:
    from random import Random

PLAIN = "plain"


class Region(Record):
    """Train prompts that say alike things, found from their texts alone; ``terms`` tell it from the others."""

    id: str
    terms: tuple[str, ...]
    prompts: tuple[str, ...]


class Pull(Record):
    """What became of a choice: ``asked`` is the attempted prompt's id, ``finding`` the finding's, empty where there is
    none; ``prompt`` is the parent's."""

    id: str
    style: str
    region: str
    prompt: str
    attempt: str = ""
    finding: str = ""


class GroupMember(Record):
    """The group of alike findings that a finding belongs to."""

    id: str
    group: int


class PullReward(Record):
    """A pull as it counts now: ``new`` where it is a finding that neither an approved principle nor a group of enough
    alike findings covers; ``why`` says so in words."""

    id: str
    style: str
    region: str
    new: bool
    why: str


class Arm(Record):
    """What is known of an attack style in a region: ``tries``, of which ``new`` found what nothing covers yet, and the
    Beta(``alpha``, ``beta``) posterior of the next one doing so."""

    id: str
    style: str
    region: str
    tries: int
    new: int
    alpha: float
    beta: float


def group_prompts(prompts: Sequence[Prompt], options: AttackSpec, *, step: Step) -> list[Region]:
    """The prompts in about ``regions`` groups, by their texts."""
    texts = [p.text for p in prompts]
    labels, terms = find_regions(texts, options.regions, step.seed("regions") % 2**32)
    groups: dict[int, list[str]] = {}
    for label, prompt in zip(labels, prompts, strict=True):
        groups.setdefault(label, []).append(prompt.id)
    return [Region(id=f"r{n:03d}", terms=terms[n], prompts=tuple(groups[n])) for n in sorted(groups)]


def eligible_prompts(prompts: Sequence[Prompt], drawn: int, reach: int) -> list[Prompt]:
    """The prompts that may be attacked: those drawn plainly so far, and those beyond the ``reach`` of all plain draws.
    So attacks never choose what the stop rule will see."""
    return [*prompts[:drawn], *prompts[max(drawn, reach) :]]


def record_plain_pulls(
    exchanges: Sequence[Exchange], findings: Sequence[Finding], regions: Sequence[Region]
) -> list[Pull]:
    """The plain draws of an iteration as pulls: what they found is known to the bandit too."""
    region = {key: r.id for r in regions for key in r.prompts}
    found = {f.id for f in findings}
    return [
        Pull(
            id=join_id(PLAIN, e.id),
            style=PLAIN,
            region=region[e.id],
            prompt=e.id,
            attempt=e.id,
            finding=e.id if e.id in found else "",
        )
        for e in exchanges
    ]


def record_pulls(
    choices: Sequence[AttackTarget], tried: Sequence[AttackPrompt], findings: Sequence[Finding]
) -> list[Pull]:
    """What became of the choices of a round."""
    found = {f.id for f in findings}
    asked = {t.id: t.prompt.id if t.prompt is not None else "" for t in tried}
    return [
        Pull(
            id=c.id,
            style=c.style,
            region=c.region,
            prompt=c.prompt.id,
            attempt=asked[c.id],
            finding=asked[c.id] if asked[c.id] in found else "",
        )
        for c in choices
    ]


def assign_groups(findings: Sequence[Finding], before: Sequence[GroupMember], options: AttackSpec) -> list[GroupMember]:
    """To which group of alike findings each one belongs, told from the responses; those of ``before`` stay."""
    numbers = group_texts([f.exchange.response for f in findings], [m.group for m in before], options.distance)
    return [GroupMember(id=f.id, group=number) for f, number in zip(findings, numbers, strict=True)]


def reward_pulls(
    pulls: Sequence[Pull], members: Sequence[GroupMember], constitution: Constitution, options: AttackSpec
) -> list[PullReward]:
    """Every pull so far, as it counts now. ``members``: every finding of the run, with its group."""
    group, size = {m.id: m.group for m in members}, Counter(m.group for m in members)
    ruled = {group[key]: p.id for p in constitution.active for key in p.because if key in group}

    def why(finding: str) -> str:
        if not finding:
            return "no finding"
        if group[finding] in ruled:
            return f"covered by {ruled[group[finding]]}"
        return "new" if size[group[finding]] < options.cluster_cap else f"covered by {size[group[finding]]} alike"

    told = [(pull, why(pull.finding)) for pull in pulls]
    return [PullReward(id=p.id, style=p.style, region=p.region, new=said == "new", why=said) for p, said in told]


PRIOR_SHRINKAGE = 4.0
"""Tries by which the share of a style or a region is shrunk towards the share of all: few, since there are few of them
and each has many tries."""


def update_arms(
    regions: Sequence[Region], styles: Sequence[str], rewards: Sequence[PullReward], options: AttackSpec
) -> list[Arm]:
    """Every arm with its posterior. The prior of an arm has the weight of ``prior`` tries; its mean is the style's
    share times the region's over the share of all, each of the former shrunk towards the latter."""
    tries, new = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for reward in rewards:
        keys = (("", ""), (reward.style, ""), ("", reward.region), (reward.style, reward.region))
        tries.update(keys)
        new.update(keys if reward.new else ())
    overall = (new["", ""] + 1) / (tries["", ""] + 2)

    def share(style: str, region: str) -> float:
        return (new[style, region] + PRIOR_SHRINKAGE * overall) / (tries[style, region] + PRIOR_SHRINKAGE)

    made = []
    for style in styles:
        for region in regions:
            mean = min(share(style, "") * share("", region.id) / overall, 0.99)
            key = (style, region.id)
            made.append(
                Arm(
                    id=join_id(style, region.id),
                    style=style,
                    region=region.id,
                    tries=tries[key],
                    new=new[key],
                    alpha=options.prior_weight * mean + new[key],
                    beta=options.prior_weight * (1 - mean) + tries[key] - new[key],
                )
            )
    return made


def choose_attacks(
    arms: Sequence[Arm],
    regions: Sequence[Region],
    parents: Sequence[Prompt],
    spent: Sequence[Pull],
    options: AttackSpec,
    count: int,
    *,
    step: Step,
) -> list[AttackTarget]:
    """``count`` choices, each a prompt that this style has not met. A share ``floor`` is drawn
    uniformly over styles, then prompts; the rest goes to the arm with the largest draw from its posterior
    (``thompson``) or with the largest mean (``greedy``)."""
    known, used = {p.id: p for p in parents}, {(pull.style, pull.prompt) for pull in spent}
    members = {r.id: [key for key in r.prompts if key in known] for r in regions}
    left = {arm.id: [key for key in members[arm.region] if (arm.style, key) not in used] for arm in arms}
    chosen = []
    for slot in range(count):
        draw = step.random(f"slot {slot}")
        open_arms = [arm for arm in arms if left[arm.id]]
        if not open_arms:
            break
        floor = options.bandit == "uniform" or draw.random() < options.floor
        value = None
        if floor:
            style = draw.choice(sorted({arm.style for arm in open_arms}))
            own = [arm for arm in open_arms if arm.style == style]
            arm = draw.choices(own, [len(left[a.id]) for a in own])[0]
        else:
            values = [(_arm_value(a, options, draw), draw.random()) for a in open_arms]
            value, arm = max(values)[0], open_arms[values.index(max(values))]
        prompt = known[left[arm.id].pop(draw.randrange(len(left[arm.id])))]
        chosen.append(
            AttackTarget(
                id=join_id(arm.style, prompt.id),
                style=arm.style,
                region=arm.region,
                prompt=prompt,
                why="floor" if floor else "arm",
                value=value,
            )
        )
    return chosen


def _arm_value(arm: Arm, options: AttackSpec, draw: Random) -> float:
    if options.bandit == "greedy":
        return arm.alpha / (arm.alpha + arm.beta)
    return draw.betavariate(arm.alpha, arm.beta)
