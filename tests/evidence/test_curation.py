"""The evidence of curation at small n: it measures what it says, and a broken part shows."""

from __future__ import annotations

import pytest
from evidence import curation as measured
from evidence import sifting
from evidence.labelled import FORMS, labelled
from evidence.markdown import lines, share

from tests.fakes.published_files import needs_data

pytestmark = pytest.mark.slow


@needs_data
def test_planted_rows_are_found_and_clean_rows_stay() -> None:
    found = measured.contamination(planted=16, clean=300)
    assert [r["found"] for r in found["planted"] if r["words"] == "8 or more"] == [4, 4, 4, 4]
    assert [r["found"] for r in found["planted"] if r["words"] == "fewer"][:3] == [4, 4, 4]
    turns = [r["found as a turn"] for r in found["planted"]]
    assert (turns[:4], turns[4:7]) == ([4, 4, 4, 4], [4, 4, 4])
    assert (found["clean"]["n"], found["clean"]["dropped"] <= 3) == (300, True)


@needs_data
def test_duplicates_are_held_against_exact_jaccard() -> None:
    found = measured.duplicates(count=400, compared=200, sample=400)
    own = found["rows"][0]
    assert (own["recall"], own["precision"]) == (1.0, 1.0)
    assert own["true in the sample"] > 50
    assert own["GiB"] > 0
    assert own["seconds"] > 0
    texts = measured.pool(400)
    assert measured.held(texts, set(), range(400))["recall"] == 0.0
    assert (measured.held(texts, set(range(400)), range(400))["precision"] or 0) < 1


@needs_data
def test_memory_is_the_commands_own_whatever_this_process_holds() -> None:
    held = bytearray(b"x") * (3 << 28)
    assert measured.by_command(measured.pool(40), 40)["GiB"] < 0.6
    assert len(held)


@needs_data
def test_every_form_is_measured_and_the_values_stand_where_the_labels_say() -> None:
    items = labelled(3)
    assert len(items) == 3 * sum(map(len, FORMS.values()))
    assert all(0 <= item.start < item.end <= len(item.text) for item in items)
    found = measured.masking(3)
    by_form = {(r["kind"], r["form"]): r["masked"] for r in found["rows"]}
    assert by_form["CARD", "16 digits"] == 3
    assert by_form["NAME", "full name"] == 0
    text = sifting.table("masking", {"masking": found}, lines, share)
    assert "| CARD | 16 digits | 3 | 100.0 % |" in text
    assert f"Masking takes {found['cost']['rows per CPU second']:,} rows" in text
