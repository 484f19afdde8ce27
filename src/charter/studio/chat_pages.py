"""A run's starting model and its aligned one side by side, asked the same. Nothing that is said is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from charter.errors import SpecError
from charter.studio.page_rendering import render, require_role
from charter.studio.run_pages import find_run, run_contents

if TYPE_CHECKING:
    from starlette.requests import Request

LONGEST_PROMPT = 4_000
"""Characters of a prompt."""


def show_chat(request: Request) -> Response:
    """The form to ask."""
    require_role(request, "reviewer")
    return _render(request, "", None)


def take_prompt(request: Request) -> Response:
    """Asks both models, and shows what they say."""
    require_role(request, "reviewer")
    prompt = request.state.form.get("prompt", "").replace("\r\n", "\n").strip()
    if not prompt or len(prompt) > LONGEST_PROMPT:
        raise SpecError("no prompt", cure=f"Say something, in at most {LONGEST_PROMPT:,} characters.")
    _, reading = find_run(request)
    return _render(request, prompt, request.app.state.chat.ask_both(reading.directory, prompt))


def _render(request: Request, prompt: str, answers: dict[str, str] | None) -> Response:
    name, reading = find_run(request)
    contents = run_contents(name, reading)
    return render(request, "chat.html.j2", **contents, prompt=prompt, answers=answers, longest=LONGEST_PROMPT)
