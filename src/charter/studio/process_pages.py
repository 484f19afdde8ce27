"""Starting a run, and going on with one: for the role admin, each as a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from charter import spec as specs
from charter.studio.page_rendering import make_link, render, require_role, studio_of
from charter.studio.run_pages import find_directory

if TYPE_CHECKING:
    from starlette.requests import Request


def show_start(request: Request) -> Response:
    """The form to begin a run, and what was started here."""
    require_role(request, "admin")
    return render(
        request, "start.html.j2", recipes=sorted(specs.list_recipes()), started=studio_of(request).processes.started
    )


def begin_run(request: Request) -> Response:
    """Begins a run of a shipped recipe."""
    require_role(request, "admin")
    form: dict[str, str] = request.state.form
    studio_of(request).processes.begin_run(form.get("recipe", ""), form.get("name", ""))
    return RedirectResponse(make_link("start"), 303)


def resume_run(request: Request) -> Response:
    """Goes on with a run."""
    require_role(request, "admin")
    name = request.path_params["run"]
    studio_of(request).processes.resume_run(name, find_directory(request))
    return RedirectResponse(make_link("runs", name), 303)
