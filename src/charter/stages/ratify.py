"""Ratification: a constitution of people. Rules wait until they are decided."""

from __future__ import annotations

from collections.abc import Sequence

from charter.constitution.document import Constitution
from charter.constitution.ratification import count_votes, list_undecided
from charter.errors import UndecidedError
from charter.records.rule_decisions import RuleDecision
from charter.spec import RatifySpec


def ratify(constitution: Constitution, decisions: Sequence[RuleDecision], options: RatifySpec) -> Constitution:
    """The next version, as people decided. Raises UndecidedError where rules wait for them.

    Args:
        constitution: The rules, with what is measured of them.
        decisions: What people decided so far.
        options: Who decides, and how many must be of one mind.
    """
    settlement = count_votes(constitution, decisions, options.approvals)
    waiting = list_undecided(constitution, settlement, by_measurement=options.by == "threshold")
    if waiting:
        many = f"{len(waiting)} rules wait" if len(waiting) > 1 else "1 rule waits"
        words = "\n".join(f"  {rule.id}: {' '.join(rule.text.split())}" for rule in waiting)
        raise UndecidedError(
            f"{many} for people ({options.approvals} of one mind decide):\n{words}",
            "Read them: charter constitution show RUN; decide: charter constitution approve RUN RULE --by NAME, or "
            "reject, edit, merge; then go on: charter resume RUN",
        )
    return constitution.amend(settlement.principles, settlement.amendments)
