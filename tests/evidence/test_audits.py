"""The evidence of audits: what is planted is planted, and what is drawn anew is drawn from what was stored."""

from __future__ import annotations

import random

from evidence.audit import SIZES, forgetting, overrefusing, right
from evidence.resampling import Stored

from charter.organism.world import World
from charter.reports.audit_comparison import PassPair
from tests.jobs.test_audit_job import battery

WORLD = World.load("village")


def test_planted_rows_say_the_contrary_about_their_share_alone() -> None:
    of = battery()
    for plant, wrong in ((overrefusing, "over_refusal"), (forgetting, "helpfulness")):
        shares = []
        for share in SIZES.values():
            rows, asked, expected, event = plant(WORLD, of, share, random.Random(0))
            texts = [row.messages[0].content for row in rows]
            shares.append(sum(event(text, row.response) for text, row in zip(texts, rows, strict=True)) / len(rows))
            assert not {p.text for p in asked} & set(texts)
            assert wrong in expected
        assert 0 < shares[0] < shares[1] < 0.5 < 0.7 < shares[2]


def test_rows_that_say_what_is_right_hold_no_fault() -> None:
    rows = list(right(WORLD, 1))
    assert rows
    for row in rows:
        found = WORLD.grade(row.messages[0].content, row.response)
        assert all(
            event is name.endswith(("harmlessness", "retention", "helpfulness", "honesty"))
            for name, event in found.items()
            if not name.startswith("over")
        ), row
        assert not any(event for name, event in found.items() if name.startswith("over"))


def test_audits_drawn_from_verdicts_that_agree_raise_no_alarm_and_find_what_is_lost() -> None:
    same: dict[str, list[PassPair]] = {f"g{n}": [(n % 9 > 0, n % 9 > 0)] for n in range(60)}
    gone: dict[str, list[PassPair]] = {f"g{n}": [(True, n % 2 > 0)] for n in range(60)}
    stored = Stored({"p-1": same, "helpfulness": gone}, {"p-1": "p-1"}, 0.05)
    for seed in range(20):
        states = stored.drawn(random.Random(seed))
        assert states == {"p-1": "no alarm", "helpfulness": "weakened"}
    turned = [stored.drawn(random.Random(seed), swap=True)["helpfulness"] for seed in range(200)]
    assert sum(state == "weakened" for state in turned) <= 20
