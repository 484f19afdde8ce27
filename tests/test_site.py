"""The site is built from the pages, and says so where a link is broken."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import docs
import pytest
import yaml
from docs.linked_files import find_linked_files, page_of, render_file


def build(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Builds the site of a folder as ``make docs`` does, by the words of the Makefile."""
    makefile = (docs.ROOT / "Makefile").read_text(encoding="utf-8")
    (told,) = re.findall(r"\$\(BIN\)/(.*mkdocs build.*)", makefile)
    program, *given = told.split()
    command = [str(Path(sys.executable).parent / program), *given, *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_page_is_in_the_site_and_no_link_is_broken(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = build(docs.ROOT, "--site-dir", str(site))
    assert built.returncode == 0, built.stdout + built.stderr
    for page in (docs.ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file()
    assert (site / "files" / "ARCHITECTURE.html").is_file()
    code = (site / "files" / "src" / "charter" / "methods" / "iteralign.py.html").read_text(encoding="utf-8")
    assert ">def<" in code.replace(" ", "")
    assert 'href="files/src/charter/methods/iteralign.py.html"' in (site / "how-it-works.html").read_text("utf-8")


@pytest.mark.slow
def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[there](nowhere.md)\n", encoding="utf-8")
    strict = {"site_name": "x", "validation": {"not_found": "warn"}}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(strict), encoding="utf-8")
    assert build(tmp_path).returncode != 0


def test_a_link_that_leaves_the_pages_is_found_and_a_page_does_not() -> None:
    text = "[code](../src/charter/a.py#L3) [page](runs.md) [site](https://example.org)"
    assert find_linked_files(text, "x.md") == {"../src/charter/a.py": "src/charter/a.py"}
    assert page_of("bench/A.md") == "files/bench/A.md"
    assert page_of("examples/a.py") == "files/examples/a.py.md"


def test_links_of_a_file_into_the_pages_go_back_to_them() -> None:
    shown = render_file("README.md")
    assert "](../index.md)" in shown
    assert "](docs/" not in shown
    assert "![" in render_file("ARCHITECTURE.md")
    assert "](../diagrams/loop.svg)" in render_file("ARCHITECTURE.md")


def test_every_picture_of_the_studio_can_be_taken_anew() -> None:
    shown = set(re.findall(r"\(studio/([\w-]+)\.png\)", (docs.ROOT / "docs" / "studio.md").read_text(encoding="utf-8")))
    script = (docs.ROOT / "docs" / "studio_pictures.py").read_text(encoding="utf-8")
    taken = set(re.findall(r'(?:show|keep)\(\w+, "([\w-]+)"', script)) | set(re.findall(r'"([\w-]+)": f?"/', script))
    assert shown == taken == {path.stem for path in (docs.ROOT / "docs" / "studio").glob("*.png")}
