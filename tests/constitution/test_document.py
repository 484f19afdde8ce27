"""A constitution is amended, never edited: versions, rendering, files and differences."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charter.constitution.document import (
    Constitution,
    diff,
    from_yaml,
    read_constitution,
    rules_text,
    to_markdown,
    to_yaml,
)
from charter.errors import SpecError
from charter.records.rules import Efficacy, Principle
from tests.fakes.example_records import rule

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
efficacies = st.builds(
    Efficacy,
    n=st.integers(0, 50),
    passed_with=st.integers(0, 50),
    passed_without=st.integers(0, 50),
    difference=st.none() | st.floats(-1, 1),
    p=st.none() | st.floats(0, 1),
    p_holm=st.none() | st.floats(0, 1),
    without=st.lists(texts, max_size=2).map(tuple),
)
principles = st.builds(
    Principle,
    id=texts,
    title=texts,
    text=texts,
    scope=texts,
    status=st.sampled_from(["proposed", "approved", "rejected", "retired"]),
    because=st.lists(texts, max_size=3).map(tuple),
    efficacy=st.none() | efficacies,
)
constitutions = st.builds(
    Constitution,
    version=st.integers(0, 99),
    parent=texts,
    principles=st.lists(principles, max_size=4, unique_by=lambda p: p.id).map(tuple),
)


def test_an_amendment_is_a_new_version_that_names_its_parent() -> None:
    first = Constitution().amend([rule("a")])
    second = first.amend([rule("a"), rule("b")])
    assert (first.version, second.version) == (1, 2)
    assert first.parent == Constitution().digest
    assert second.parent == first.digest
    assert first.principles == (rule("a"),)
    assert second.amend(second.principles) is second
    assert len({Constitution().digest, first.digest, second.digest}) == 3


def test_only_approved_rules_are_in_force() -> None:
    c = Constitution().amend([rule("a"), rule("b", status="rejected"), rule("c", status="retired"), rule("d")])
    assert [p.id for p in c.active] == ["a", "d"]
    assert rules_text(c) == "- never a\n- never d"
    assert rules_text(c, "{text} {id}") == "never a {id}\nnever d {id}"
    assert c.principle("b").status == "rejected"
    less = c.without(["a", "zzz"])
    assert [p.id for p in less.principles] == ["b", "c", "d"]
    assert rules_text(Constitution()) == ""


@settings(max_examples=40)
@given(constitutions)
@example(Constitution(parent="a\x85b", principles=(rule("a", "\u2028 x \ufeff"),)))
def test_yaml_reads_back_to_an_equal_constitution(c: Constitution) -> None:
    again = from_yaml(to_yaml(c))
    assert again == c
    assert again.digest == c.digest


@given(texts)
def test_a_rule_is_one_line_whatever_its_text(text: str) -> None:
    c = Constitution().amend([rule("a", f"x{text}"), rule("b", "y")])
    lines = rules_text(c).splitlines()
    assert len(lines) == 2
    assert lines[1] == "- y"


def test_a_plain_list_of_rules_is_accepted() -> None:
    c = from_yaml("- never lie\n- {title: theft, text: never steal, status: retired}\n")
    assert [(p.id, p.title, p.text, p.status) for p in c.principles] == [
        ("p001", "never lie", "never lie", "approved"),
        ("p002", "theft", "never steal", "retired"),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- {title: a}\n- {text: b, sort: c}\n- 7\n", "principles.0.text"),
        ("version: many\n", "version"),
        ("", ""),
        ("just words", ""),
        ("1: 2\n", "1"),
        ("- {id: a, text: one}\n- {id: a, text: two}\n", "a: this id occurs twice"),
    ],
)
def test_what_is_no_constitution_is_said_with_every_fault(text: str, fault: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_yaml(text, "mine.yaml")
    assert "mine.yaml" in str(caught.value)
    assert caught.value.faults
    assert any(fault in line for line in caught.value.faults)
    assert caught.value.cure


def test_all_faults_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        from_yaml("- {title: a}\n- {text: b, sort: c}\n- {scope: d}\n")
    assert len(caught.value.faults) == 3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("- μή\n", encoding="utf-8")
    assert read_constitution(good).principles[0].text == "μή"
    (tmp_path / "broken.yaml").write_text("- [", encoding="utf-8")
    (tmp_path / "latin.yaml").write_bytes(b"- caf\xe9\n")
    for name in ("broken.yaml", "latin.yaml", "none.yaml", "."):
        with pytest.raises(SpecError) as caught:
            read_constitution(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_page_for_people_tells_status_causes_and_efficacy() -> None:
    measured = Efficacy(n=12, passed_with=11, passed_without=2, difference=0.75, p=0.004, p_holm=0.008, without=("a",))
    few = Efficacy(
        n=3, passed_with=1, passed_without=1, difference=None, p=None, p_holm=None, without=("b",), note="too few"
    )
    c = Constitution(
        version=3,
        principles=(
            rule("a", efficacy=measured, because=("x", "y")),
            rule("b", status="retired", efficacy=few),
            rule("c"),
        ),
    )
    page = to_markdown(c)
    assert "version 3" in page
    assert "Mends 11 of 12 unseen failures, without it 2 of 12 (exact McNemar, Holm: p = 0.008)." in page
    assert "caused by 2 failures" in page
    assert "b, retired" in page
    assert "not measured: too few" in page


def test_a_difference_shows_what_came_and_what_went() -> None:
    old = Constitution().amend([rule("a"), rule("b")])
    new = old.amend([rule("a"), rule("c")])
    shown = diff(old, new)
    assert "-b [approved] b: never b" in shown
    assert "+c [approved] c: never c" in shown
    assert "version 1" in shown
    assert "version 2" in shown
    assert diff(old, old) == ""
