"""A hook of the site's builder: files outside this folder that a page links to become pages of the site too.

Pages link to code and to the notes beside it as they lie in the repository. A site holds the pages alone, so each
linked file is added under ``files/``: Markdown as it is, other text as a block of code. Notebooks become pages too."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from docs.executed_notebooks import list_notebooks, render_page

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
_LOCAL_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?://)(?P<path>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_NOTEBOOK_LINK = re.compile(r"(\]\(notebooks/[\w-]+)\.ipynb\)")
_LANGUAGES = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".sh": "bash"}


def find_linked_files(text: str, place: str) -> dict[str, str]:
    """The links of a page at ``place`` (relative to this folder) that leave it: by link the file in the repository."""
    folder = Path("docs") / Path(place).parent
    return {link: normpath((folder / link).as_posix()) for link, _ in _LINK.findall(text)}


def page_of(file: str) -> str:
    """Where a file of the repository stands in the site."""
    return f"files/{file}" if file.endswith(".md") else f"files/{file}.md"


def render_file(file: str) -> str:
    """A file as a page. Links of a Markdown file into this folder go back to its pages; its other links are plain
    text, since what they lead to is not in the site."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if not file.endswith(".md"):
        return f"# {file}\n\n```{_LANGUAGES.get(Path(file).suffix, '')}\n{text.rstrip()}\n```\n"

    folder = Path(page_of(file)).parent.as_posix()

    def mend(found: re.Match[str]) -> str:
        target = normpath((Path(file).parent / found["path"]).as_posix())
        if not target.startswith("docs/"):
            return found["text"]
        return (
            f"{found['image']}[{found['text']}]({relpath(target.removeprefix('docs/'), folder)}{found['anchor'] or ''})"
        )

    return _LOCAL_LINK.sub(mend, text)


def on_files(files: Any, config: Any) -> Any:
    """Adds the notebooks as pages, and the linked files."""
    from mkdocs.structure.files import File, InclusionLevel

    for path in list_notebooks():
        files.append(File.generated(config, f"{path.parent.name}/{path.stem}.md", content=render_page(path)))
    linked = {
        file
        for page in files.documentation_pages()
        for file in find_linked_files(page.content_string, page.src_uri).values()
    }
    for file in sorted(linked):
        files.append(
            File.generated(config, page_of(file), content=render_file(file), inclusion=InclusionLevel.NOT_IN_NAV)
        )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns the links to them to their pages."""
    del config, files
    if page.file.src_uri.startswith("files/"):
        return markdown
    folder = Path(page.file.src_uri).parent.as_posix()
    markdown = _NOTEBOOK_LINK.sub(r"\1.md)", markdown)
    for link, file in find_linked_files(markdown, page.file.src_uri).items():
        markdown = markdown.replace(f"]({link}", f"]({relpath(page_of(file), folder)}")
    return markdown
