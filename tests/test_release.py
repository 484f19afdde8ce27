"""What a release needs is at hand and fits together."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import docs
import pytest
import yaml
from docs.release_notes import main, read_notes

from charter import __version__

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n- new\n\n## [1.1] - 2026-01-01\n\n- a\n- b\n\n## [1.0]\n\n- first\n"


def test_a_version_has_its_own_notes() -> None:
    assert read_notes(CHANGELOG, "1.1") == "- a\n- b\n"
    assert read_notes(CHANGELOG, "1.0") == "- first\n"


@pytest.mark.parametrize("version", ["1", "2.0", "1x1"])
def test_a_version_without_a_section_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="no section"):
        read_notes(CHANGELOG, version)


def test_a_tag_that_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["v99.0", str(tmp_path / "NOTES.md")]) == 2
    assert "make them fit" in capsys.readouterr().err
    assert not (tmp_path / "NOTES.md").exists()


def test_the_version_stands_in_three_places_alike() -> None:
    cited = yaml.safe_load((docs.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    assert f'version = "{__version__}"' in (docs.ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted((docs.ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_forms_are_yaml(file: Path) -> None:
    assert yaml.safe_load(file.read_text(encoding="utf-8"))


def test_workflows_call_targets_that_exist() -> None:
    makefile = (docs.ROOT / "Makefile").read_text(encoding="utf-8")
    called = set[str]()
    for file in (docs.ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
        steps = [step.get("run", "").split() for job in jobs.values() for step in job["steps"]]
        called |= {words[1] for words in steps if words[:1] == ["make"]}
    assert {"lint", "test", "docs", "release"} <= called
    assert [name for name in called if f"\n{name}: setup" not in makefile] == []


# --- the container


def read_steps() -> list[tuple[str, list[str]]]:
    """The steps of the Containerfile: what each does, and its words."""
    text = (docs.ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [(first, words) for first, *words in lines]


def test_what_the_container_copies_is_there_and_not_ignored() -> None:
    ignored = (docs.ROOT / ".containerignore").read_text(encoding="utf-8").split()
    copied = [source for step, words in read_steps() if step == "COPY" for source in words[:-1]]
    assert [source for source in copied if not (docs.ROOT / source).exists() or source in ignored] == []
    project = tomllib.loads((docs.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"pyproject.toml", "src", "LICENSE", "constraints.txt", project["readme"]} <= set(copied)


def test_the_container_installs_what_the_package_has_under_the_pinned_versions() -> None:
    project = tomllib.loads((docs.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    steps = read_steps()
    defaults = dict(word.partition("=")[::2] for step, words in steps if step == "ARG" for word in words)
    assert set(defaults["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    (install,) = (words for step, words in steps if step == "RUN" and words[:2] == ["pip", "install"])
    assert install[install.index("-c") + 1] == "constraints.txt"
    (entry,) = (json.loads(" ".join(words)) for step, words in steps if step == "ENTRYPOINT")
    assert set(entry) == set(project["scripts"])
    (base,) = (words[0] for step, words in steps if step == "FROM")
    assert base.endswith(f":{project['requires-python'].removeprefix('>=')}-slim")
