"""How new rules come into the constitution: the same ones united, contradictions settled, each change with its
reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from charter.constitution.document import Constitution
from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json
from charter.judging.reply_schemas import MERGE_SCHEMA
from charter.ports import Engine
from charter.records.candidate_rules import CandidateCheck
from charter.records.item_ids import join_id
from charter.records.record import Step
from charter.records.rules import Amendment, Principle, Proposal
from charter.records.templates import Templates, fence_text
from charter.spec import AmendSpec

EQUAL, COVERED = "they have the same wording", "one wording covers them"
"""Why rules were merged."""


class RuleGroups(NamedTuple):
    """What the proposer said of numbered rules: groups that one wording covers, and pairs that contradict."""

    groups: list[tuple[list[int], dict[str, str]]]
    conflicts: list[tuple[list[int], str]]


def amend(
    constitution: Constitution,
    proposals: Sequence[Proposal],
    proposer: Engine,
    templates: Templates,
    options: AmendSpec,
    *,
    step: Step,
) -> Constitution:
    """The next version, with an amendment for every change. ``merge``: rules of equal wording become one without a
    call; for the rest, one call names the groups that say the same and the pairs that contradict. A rule that people
    took back does not come in again. ``replace``: this batch's rules, and those of people (the paper's way)."""
    new = [p.principle for p in proposals if p.principle is not None]
    if not new:
        return constitution
    if options.mode == "replace":
        stay = [p for p in constitution.principles if p.by == "people"]
        dropped = [p for p in constitution.principles if p.by != "people"]
        gone = [_amendment("dropped", [p], "the rules of an earlier batch") for p in dropped]
        return constitution.amend([*stay, *new], [*gone, *(_addition(p) for p in new)])
    known = {p.id for p in constitution.principles}
    fresh, changes = _drop_rejected(constitution.principles, new)
    rules, united = _unite_equal([*constitution.principles, *fresh])
    changes += united
    if len(rules) > 1 and len(rules) > len(constitution.principles):
        named = _ask_for_groups(rules, proposer, templates, step)
        merged, united = _unite_groups(rules, named.groups)
        into = {gone: change.principles[0] for change in united for gone in change.principles}
        rules, settled = _settle_conflicts(
            merged, [([rules[n - 1].id for n in pair], why) for pair, why in named.conflicts], into
        )
        changes += [*united, *settled]
    added = [_addition(rule) for rule in rules if rule.id not in known]
    return constitution.amend(rules, [*added, *changes])


def restore_wordings(
    merged: Constitution, checks: Sequence[CandidateCheck], known: Constitution, proposals: Sequence[Proposal]
) -> Constitution:
    """The same rules; where a merged wording was refused its members stand as they were."""
    new = [p.principle for p in proposals if p.principle is not None]
    for check in checks:
        if check.reason is not None:
            merged = _undo_merging(merged, check.id, check.why, known.principles, new)
    return merged


def _undo_merging(
    merged: Constitution, id: str, why: str, known: Sequence[Principle], new: Sequence[Principle]
) -> Constitution:
    """The same rules, but in place of the rule ``id``, which the proposer made of several, these several. Members of
    equal wording stay one. ``why``: why its wording was refused; ``known`` and ``new``: the rules before it."""
    own: dict[str, Principle] = {rule.id: rule for rule in (*new, *known)}
    united = {a.principles[0]: a.principles for a in merged.amendments if _is_merging(a, EQUAL)}
    merging = next(a for a in merged.amendments if _is_merging(a, COVERED) and a.principles[0] == id)
    members = [_unite([own[key] for key in united.get(member, (member,))], {}) for member in merging.principles]
    old = {rule.id for rule in known}
    note = f"; a wording that united it with others was refused: {why}"
    added = [
        _amendment("added", [r], f"proposed from {len(r.because)} failures{note}") for r in members if r.id not in old
    ]
    rules = [one for rule in merged.principles for one in (members if rule.id == id else [rule])]
    changes = (*added, *(a for a in merged.amendments if a is not merging and a.id != join_id("added", id)))
    return merged.model_copy(update={"principles": tuple(rules), "amendments": changes})


def _is_merging(amendment: Amendment, reason: str) -> bool:
    return amendment.action == "merged" and amendment.reason == reason


def _amendment(action: str, rules: Sequence[Principle], reason: str, after: str = "") -> Amendment:
    first = rules[0]
    said = {"before": first.text, "after": after} if after and after != first.text else {}
    ids = tuple(rule.id for rule in rules)
    return Amendment.model_validate(
        {"id": join_id(action, first.id), "action": action, "principles": ids, "reason": reason, **said}
    )


def _addition(rule: Principle) -> Amendment:
    return _amendment("added", [rule], f"proposed from {len(rule.because)} failures")


def _wording_key(rule: Principle) -> str:
    return " ".join(rule.text.lower().split())


def _drop_rejected(old: Sequence[Principle], new: Sequence[Principle]) -> tuple[list[Principle], list[Amendment]]:
    """The new rules, less those that people took back in the same words."""
    refused = {_wording_key(p): p for p in old if p.by == "people" and p.status in ("rejected", "retired")}
    fresh = [p for p in new if _wording_key(p) not in refused]
    turned = [
        _amendment(
            "rejected",
            [p, refused[_wording_key(p)]],
            f"people took {refused[_wording_key(p)].id} back, which says the same",
        )
        for p in new
        if _wording_key(p) in refused
    ]
    return fresh, turned


def _unite(rules: Sequence[Principle], wording: Mapping[str, str]) -> Principle:
    """One rule for several: the first one's id, every cause. What was measured holds only while its wording does; the
    wording of people stands."""
    first = rules[0]
    theirs = next((rule for rule in rules if rule.by == "people"), None)
    said = {k: v for k, v in wording.items() if v}
    if theirs is not None:
        said = {"title": theirs.title, "text": theirs.text, "scope": theirs.scope, "by": "people"}
    same = said.get("text", first.text) == first.text
    return first.model_copy(
        update={
            "efficacy": first.efficacy if same else None,
            "breadth": first.breadth if same else None,
            "because": tuple(dict.fromkeys(b for rule in rules for b in rule.because)),
            "clusters": tuple(dict.fromkeys(c for rule in rules for c in rule.clusters)),
            **said,
        }
    )


def _unite_equal(rules: Sequence[Principle]) -> tuple[list[Principle], list[Amendment]]:
    groups: dict[str, list[Principle]] = {}
    for rule in rules:
        groups.setdefault(_wording_key(rule) if rule.status == "approved" else rule.id, []).append(rule)
    made = [_unite(group, {}) if len(group) > 1 else group[0] for group in groups.values()]
    return made, [_amendment("merged", group, EQUAL) for group in groups.values() if group[1:]]


def _ask_for_groups(rules: Sequence[Principle], proposer: Engine, templates: Templates, step: Step) -> RuleGroups:
    def list_rules(fence: str) -> dict[str, str]:
        lines = [fence_text("rule", f"{number}. {rule.text}", fence) for number, rule in enumerate(rules, 1)]
        return {"rules": "\n".join(lines)}

    question = JsonQuestion("merge", [rule.text for rule in rules], list_rules)
    form = JsonRequest(templates.merge, MERGE_SCHEMA, max_tokens=2048)
    ((_, reply),) = ask_json(proposer, [question], form, step=step)

    def entries(key: str) -> list[tuple[list[int], dict[str, str]]]:
        found = reply.get(key)
        return [
            (
                [n for n in entry["numbers"] if type(n) is int and 1 <= n <= len(rules)],
                {k: " ".join(v.split()) for k, v in entry.items() if isinstance(v, str)},
            )
            for entry in (found if isinstance(found, list) else [])
            if isinstance(entry, dict) and isinstance(entry.get("numbers"), list)
        ]

    groups = [
        (numbers, {k: said.get(k, "") for k in ("title", "text", "scope")}) for numbers, said in entries("groups")
    ]
    return RuleGroups(groups, [(numbers, said.get("why", "")) for numbers, said in entries("conflicts")])


def _unite_groups(
    rules: Sequence[Principle], groups: Sequence[tuple[list[int], dict[str, str]]]
) -> tuple[list[Principle], list[Amendment]]:
    """Unites each named group; a rule belongs to the first group that names it, and rejected or retired rules to
    none. Of people's rules a group takes one: that two of them say the same is not the proposer's to decide."""
    free = {n for n, rule in enumerate(rules, 1) if rule.status == "approved"}
    united: dict[int, Principle | None] = {}
    changes = []
    for numbers, wording in groups:
        numbered = sorted(set(numbers) & free)
        theirs = [n for n in numbered if rules[n - 1].by == "people"]
        numbered = [n for n in numbered if n not in theirs[1:]]
        if len(numbered) < 2:
            continue
        free -= set(numbered)
        members = [rules[n - 1] for n in numbered]
        one = _unite(members, wording)
        united[numbered[0]] = one
        united.update(dict.fromkeys(numbered[1:], None))
        changes.append(_amendment("merged", members, COVERED, one.text))
    merged = (united.get(n, rule) for n, rule in enumerate(rules, 1))
    return [rule for rule in merged if rule is not None], changes


def _settle_conflicts(
    rules: Sequence[Principle], conflicts: Sequence[tuple[Sequence[str], str]], into: Mapping[str, str]
) -> tuple[list[Principle], list[Amendment]]:
    """Of two rules that contradict, one is retired: the higher authority stands, then what people decided, then what
    mends more, then the older. Two rules of people with the same authority both stay: that is theirs to settle."""
    standing = {rule.id: rule for rule in rules}
    order, changes = list(standing), []
    for ids, why in conflicts:
        named = {into.get(key, key) for key in ids}
        pair = [standing[key] for key in order if key in named and standing[key].status == "approved"]
        equals = {(rule.by, rule.rank) for rule in pair}
        if len(pair) != 2 or (len(equals) == 1 and pair[0].by == "people"):
            continue
        winner = max(pair, key=lambda r: (r.rank, r.by == "people", _efficacy_value(r), -order.index(r.id)))
        (loser,) = (rule for rule in pair if rule is not winner)
        standing[loser.id] = loser.model_copy(update={"status": "retired"})
        changes.append(_amendment("retired", [loser, winner], f"contradicts {winner.id}" + (f": {why}" if why else "")))
    return list(standing.values()), changes


def _efficacy_value(rule: Principle) -> float:
    return rule.efficacy.difference or 0.0 if rule.efficacy is not None else 0.0
