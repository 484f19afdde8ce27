"""The studio as an application: its addresses, who is let in, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from charter.errors import CharterError
from charter.studio import (
    answer_pages,
    chat_pages,
    data_pages,
    live_events,
    process_pages,
    review_pages,
    rule_pages,
    run_pages,
    step_pages,
)
from charter.studio.chat_process import ChatProcess
from charter.studio.gatekeeper import ENTRANCE, Gatekeeper, StudioAddress, read_cookie
from charter.studio.page_rendering import Studio, make_environment, render, render_error, studio_of
from charter.studio.record_search import RecordFiles
from charter.studio.run_processes import RunProcesses
from charter.studio.run_shelf import RunShelf
from charter.studio.sessions import SESSION_SECONDS, SessionBook, StudioAccess

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

_QUEUE = "/runs/{run}/reviews/{queue}"
_STEP = "/runs/{run}/steps/{folder}/{step}"
ROUTES = {
    "/": run_pages.show_runs,
    "/compare": run_pages.compare_two,
    "/audits": run_pages.show_audits,
    "/start": process_pages.show_start,
    "/runs/{run}": run_pages.show_run,
    "/runs/{run}/report": run_pages.show_report,
    "/runs/{run}/constitution": rule_pages.show_constitution,
    "/runs/{run}/rules/{rule}": rule_pages.show_rule,
    "/runs/{run}/answers": answer_pages.show_answers,
    "/runs/{run}/chat": chat_pages.show_chat,
    "/runs/{run}/data": data_pages.show_data,
    "/runs/{run}/lineage/{folder}/{step}/{key:path}": data_pages.show_lineage,
    "/runs/{run}/live": live_events.show_live,
    "/runs/{run}/events": live_events.stream_events,
    "/runs/{run}/reviews": review_pages.show_queues,
    _QUEUE: review_pages.show_queue,
    f"{_QUEUE}/items/{{item}}": review_pages.show_item,
    f"{_QUEUE}/disputes/{{item}}": review_pages.show_dispute,
    _STEP: step_pages.show_step,
    f"{_STEP}/{{key:path}}": step_pages.show_record,
}
"""What is read, by address."""
FORMS = {
    "/start": process_pages.begin_run,
    "/runs/{run}/resume": process_pages.resume_run,
    "/runs/{run}/votes": rule_pages.take_vote,
    "/runs/{run}/chat": chat_pages.take_prompt,
    "/runs/{run}/releases": rule_pages.release_version,
    "/runs/{run}/reviews": review_pages.draw_queue,
    f"{_QUEUE}/next": review_pages.take_next,
    f"{_QUEUE}/decide": review_pages.decide_queue,
    f"{_QUEUE}/items/{{item}}": review_pages.take_label,
    f"{_QUEUE}/disputes/{{item}}": review_pages.settle_dispute,
}
"""What is done, by address."""


def make_application(root: Path, accesses: Sequence[StudioAccess], address: StudioAddress) -> FastAPI:
    """The application over a folder of runs.

    Args:
        root: The folder.
        accesses: The ways in.
        address: Where it is reached.
    """
    from fastapi import FastAPI

    book, jinja = SessionBook(accesses), make_environment()
    routes = [Route(path, page, methods=["GET"]) for path, page in ROUTES.items()]
    routes += [Route(path, act, methods=["POST"]) for path, act in FORMS.items()]
    routes += [
        Route(ENTRANCE, enter, methods=["GET", "POST"]),
        Route("/leave", leave, methods=["POST"]),
        Route("/static/report.css", show_report_style, methods=["GET"]),
    ]
    static = StaticFiles(packages=[("charter.studio", "static")])
    app = FastAPI(openapi_url=None, routes=[*routes, Mount("/static", static)])
    app.state.studio = Studio(RunShelf(root), RecordFiles(), book, RunProcesses(root), jinja, address.cookie)
    app.state.secure = address.scheme == "https"
    app.state.answer_pairs = answer_pages.AnswerPairs()
    app.state.chat = ChatProcess()
    app.state.streams = 0
    handle: Any = render_error
    for kind in (CharterError, HTTPException):
        app.add_exception_handler(kind, handle)
    app.add_middleware(Gatekeeper, book=book, address=address, refuse=partial(_refuse, jinja))
    return app


def enter(request: Request) -> Response:
    """Exchanges a token for the cookie of a session. The token comes with the printed address, or in a form."""
    studio, form = studio_of(request), request.state.form
    token = form.get("token", "") or request.query_params.get("token", "")
    address = request.client.host if request.client else ""
    if not token:
        return render(request, "enter.html.j2", wrong="")
    cookie = studio.book.admit(token.strip()[:200], address)
    if cookie is None:
        shut = studio.book.is_shut(address)
        wrong = "Too many wrong tokens came from here. Wait a minute." if shut else "This token opens nothing."
        return render(request, "enter.html.j2", 429 if shut else 403, wrong=wrong)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        studio.cookie,
        cookie,
        max_age=int(SESSION_SECONDS),
        httponly=True,
        samesite="strict",
        secure=request.app.state.secure,
    )
    return answer


def leave(request: Request) -> Response:
    """Ends the session."""
    studio = studio_of(request)
    studio.book.end(read_cookie(request.headers, studio.cookie))
    answer = RedirectResponse(ENTRANCE, 303)
    answer.delete_cookie(studio.cookie)
    return answer


def show_report_style(request: Request) -> Response:
    """The style that report and studio share."""
    del request
    text = resources.files("charter.reports").joinpath("templates/report.css").read_text(encoding="utf-8")
    return Response(text, media_type="text/css")


def _refuse(jinja: Any, status: int, reason: str) -> Response:
    template = "enter.html.j2" if status == 401 else "refused.html.j2"
    text = jinja.get_template(template).render(session=None, reason=reason, wrong=reason, cure="", phrase="Refused")
    return HTMLResponse(text, status)
