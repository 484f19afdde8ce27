"""Rules as people write them are read whole, or refused with their line and the cure; documents become rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.cli.app import app
from charter.constitution.document import from_yaml, read_constitution, read_document
from charter.errors import SpecError
from tests.fakes.published_files import DATA, needs_data


@pytest.mark.parametrize(
    ("text", "ending", "rules"),
    [
        ("- Honesty: do not deceive.\n- Always be kind:\n", ".yaml", ["Honesty: do not deceive.", "Always be kind:"]),
        ("- No\n- 42\n- 2026-01-20\n- 10:30\n- 1_000\n", ".yaml", ["No", "42", "2026-01-20", "10:30", "1_000"]),
        ("- {title: a, text: No}\n- text: 7\n", ".yaml", ["No", "7"]),
        ("rules:\n- Be kind.\n- No\n", ".yaml", ["Be kind.", "No"]),
        ("principles:\n- Be kind: always\n", ".yaml", ["Be kind: always"]),
        ("Honesty: do not lie\nCare: be kind\n", ".yaml", ["do not lie", "be kind"]),
        ("# a word about it\n- 'C# and #tags'\n", ".yaml", ["C# and #tags"]),
        ("1. Be kind.\n2. Be fair.\n", ".yaml", ["Be kind.", "Be fair."]),
        ("1) Be kind.\n\n2) Be fair\n   to all.\n", ".md", ["Be kind.", "Be fair to all."]),
        ("# Ours\n\n* *Never* lie.\n* Be fair.\n", ".md", ["*Never* lie.", "Be fair."]),
        ("– Be kind.\n• Be fair #always\n", ".txt", ["Be kind.", "Be fair #always"]),
        ("Be kind.\n\nBe fair.\n", ".txt", ["Be kind.", "Be fair."]),
        ('["Be kind.", "Be fair."]', ".json", ["Be kind.", "Be fair."]),
        ('{"a": {"prompt": "Say how.", "edit_request": "Mend it."}}', ".json", ["Say how. Mend it."]),
        ('{"constitutions": [{"critic": "Say.", "revision": "Mend."}]}', ".json", ["Say. Mend."]),
        ('[{"CritiqueRequest": "Say.", "Revision Request": "Mend."}]', ".json", ["Say. Mend."]),
        ('[{"trait": "I am kind.", "questions": ["Who?"]}]', ".json", ["I am kind."]),
    ],
)
def test_rules_are_read_as_they_stand(text: str, ending: str, rules: list[str]) -> None:
    """Shapes: anthropics/ConstitutionalHarmlessnessPaper, maiush/OpenCharacterTraining."""
    found = from_yaml(text, f"mine{ending}", ending)
    assert [p.text for p in found.active] == rules


@pytest.mark.parametrize(
    ("text", "ending", "says"),
    [
        ("- Be kind.\n- Use C# and #tags.\n", ".yaml", "(line 2).*quotation marks"),
        ("- text: Do not #lie\n", ".yaml", "(line 1).*comment"),
        ("- a\n-\n", ".yaml", "(line 2) is empty"),
        ("- *Never* lie.\n", ".yaml", "line 1.*quotation marks"),
        ("- a\n- %100\n", ".yaml", "line 2.*quotation marks"),
        ("- a\n- @b\n", ".yaml", "line 2.*quotation marks"),
        ("- !never lie\n", ".yaml", "(line 1).*quotation marks"),
        ("- [Be kind]\n", ".yaml", "(line 1).*a list"),
        ("- {Be kind}\n", ".yaml", "(line 1).*keys"),
        ("-\tBe kind.\n", ".yaml", "tab"),
        ("- text: a\n  text: b\n", ".yaml", "(line 1).*twice"),
        ("- Be kind.\n- be  kind\n", ".yaml", "(line 2) says the same as rule 1"),
        ("Be kind to all who\nask of you.\n", ".txt", "line 2"),
        ("Rules:\n- a\n", ".md", "line 1"),
        ("# A\n\nProse.\n\n## B\n\nMore.\n", ".md", "constitution import"),
        ("[1, null]", ".json", "rule 2 is empty"),
    ],
)
def test_what_would_be_lost_is_refused_with_line_and_cure(text: str, ending: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_yaml(text, f"mine{ending}", ending)
    told = " ".join(str(caught.value).split())
    assert all(part in told for part in says.split(".*"))
    assert caught.value.cure
    assert "valid dictionary" not in told
    assert "Extra inputs" not in told


DOCUMENT = """# How it behaves

A word for readers.

## Be honest {#honest authority=root}

Say what you believe.[^a1]

!!! meta "Commentary"
    This is about the rule.

**Example**: a question

~~~xml
<user>
# no heading
</user>
~~~

- Name your sources.

### In doubt

Say so.
"""


def test_a_document_becomes_rules_with_title_scope_anchor_and_authority(tmp_path: Path) -> None:
    (tmp_path / "spec.md").write_text(DOCUMENT, encoding="utf-8")
    words = ["constitution", "import", str(tmp_path / "spec.md"), "--out", str(tmp_path / "rules.yaml")]
    ended = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ended.exit_code == 0
    assert "honest [root] approved: Be honest" in ended.output
    found = read_constitution(tmp_path / "rules.yaml")
    assert found == read_document(tmp_path / "spec.md")
    first, second = found.principles
    assert (first.id, first.title, first.authority, first.scope) == ("honest", "Be honest", "root", "")
    assert first.text == "Say what you believe.\n\n- Name your sources."
    assert (second.id, second.scope, second.status) == ("in-doubt", "Be honest", "proposed")
    assert found.source.startswith("spec.md@sha256:")
    with pytest.raises(SpecError, match="there already"):
        CliRunner().invoke(app, words, catch_exceptions=False)


@needs_data
def test_the_model_spec_is_imported_with_its_levels() -> None:
    """The document of openai/model_spec."""
    found = read_document(DATA / "model_spec" / "model_spec.md")
    assert len(found.active) == 59
    rule = found.principle("do_not_lie")
    assert (rule.title, rule.authority) == ("Do not lie", "user")
    assert rule.scope == "Seek the truth together > Be honest and transparent"
    assert "~~~" not in "".join(p.text for p in found.principles)
    assert {p.authority for p in found.active} == {"root", "system", "developer", "user", "guideline"}


def test_a_document_without_sections_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Only words.\n", encoding="utf-8")
    with pytest.raises(SpecError, match="no section"):
        read_document(tmp_path / "a.md")
