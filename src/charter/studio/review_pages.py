"""Review queues: what a run has to label, one item at a time, how far raters agree, and the items to adjudicate.

A label goes through the same desk as one that is given at the terminal, so both are the same lines of the same journal.
Who rates is who came in. An item's page names neither step nor model, and says what others said once one's own is in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from starlette.responses import RedirectResponse, Response

from charter.errors import SpecError
from charter.jobs.review_desk import Answer, Rater, ReviewDesk, list_progress
from charter.jobs.review_queues import QueueRequest, create_queue
from charter.jobs.review_results import report_agreement
from charter.jobs.review_votes import decide_rules, preview_decisions
from charter.records.reviews import UNSURE, AgreementFigure, ReviewKind
from charter.studio.page_rendering import make_link, render, require_role, session_of
from charter.studio.rule_pages import PATIENCE
from charter.studio.run_pages import find_directory, find_run, run_contents

if TYPE_CHECKING:
    from starlette.requests import Request

    from charter.studio.sessions import StudioSession

MOST_DRAWN = 100_000


def show_queues(request: Request) -> Response:
    """The queues of a run, how far each is, and the form to draw another."""
    session_of(request)
    name, reading = find_run(request)
    found = list_progress(reading.directory)
    kinds = get_args(ReviewKind)
    return render(request, "reviews.html.j2", **run_contents(name, reading), queues=found, kinds=kinds)


def draw_queue(request: Request) -> Response:
    """Draws a queue from a run and seals it there."""
    require_role(request, "approver")
    form: dict[str, str] = request.state.form
    kind = next((known for known in get_args(ReviewKind) if known == form.get("kind")), None)
    if kind is None:
        raise SpecError("no kind of item is named", cure=f"Choose one of: {', '.join(get_args(ReviewKind))}.")
    count, raters = (_read_count(form.get(field, "")) for field in ("count", "raters"))
    queue, _ = create_queue(find_directory(request), QueueRequest(kind, count, raters=raters or 1))
    return RedirectResponse(make_link("runs", request.path_params["run"], "reviews", queue.id), 303)


def show_queue(request: Request) -> Response:
    """A queue: its guideline, how far it is, how far its raters agree, and what is to be adjudicated."""
    session_of(request)
    name, reading = find_run(request)
    with _open_desk(request) as desk:
        guideline, own = desk.guideline, _list_own(desk, session_of(request))
        known = [*own, *desk.read_board().settled]
        decided = preview_decisions(desk) if desk.queue.kind == "rules" else None
    return render(
        request,
        "review_queue.html.j2",
        **run_contents(name, reading),
        at_queue=_at_queue(request),
        report=report_agreement(reading.directory, request.path_params["queue"]),
        guideline=guideline,
        own=own,
        decided=decided,
        kept=_find_kept(request, known),
        nothing_left=request.query_params.get("left") == "none",
        figure=_say_figure,
        unsure=UNSURE,
    )


def take_next(request: Request) -> Response:
    """Keeps the next item for whoever is here and shows it; the queue's page where nothing is left or free."""
    session = require_role(request, "reviewer")
    with _open_desk(request) as desk:
        return _go_on(request, desk, _rater(session))


def show_item(request: Request) -> Response:
    """One item as its rater sees it, beside the guideline."""
    session = require_role(request, "reviewer")
    with _open_desk(request) as desk:
        item = request.path_params["item"]
        contents, own, board = _item_contents(request, desk, item), _list_own(desk, session), desk.read_board()
        place = own.index(item) if item in own else len(own)
        visible = board.list_visible(item, session.person)
        return render(
            request,
            "review_item.html.j2",
            **contents,
            done=len(own),
            count=len(desk.items),
            previous=own[place - 1] if place else "",
            following=own[place + 1] if place + 1 < len(own) else "",
            said=board.labels[item].get(session.person),
            others=[label for label in visible if label.rater != session.person],
            settled=board.settled.get(item),
            kept=_find_kept(request, own),
            unsure=UNSURE,
        )


def _item_contents(request: Request, desk: ReviewDesk, item: str) -> dict[str, Any]:
    """What every page of an item shows. Raises SpecError where the queue has no such item."""
    return {
        "parts": desk.show_item(item),
        "run": request.path_params["run"],
        "at_queue": _at_queue(request),
        "queue": desk.queue,
        "guideline": desk.guideline,
        "item": item,
        "turns": len(desk.items[item].prompt),
    }


def take_label(request: Request) -> Response:
    """Takes down what whoever is here says of an item, or passes it over; then shows the next one."""
    session = require_role(request, "reviewer")
    form, item, rater = request.state.form, request.path_params["item"], _rater(session)
    with _open_desk(request) as desk:
        shown = [answer.text for answer in desk.items[item].answers] if item in desk.items else []
        label = form.get("label", "")
        if form.get("pass"):
            desk.pass_item(rater, item)
            return _go_on(request, desk, rater)
        comment, corrected = _read_text(form, "comment"), _read_text(form, "corrected")
        corrected = "" if corrected in [text.strip() for text in shown] else corrected
        desk.submit_label(rater, Answer(item, None if label == UNSURE else label, comment, corrected))
        return _go_on(request, desk, rater, item)


def show_dispute(request: Request) -> Response:
    """An item on which raters disagree, with what each said, and the form to settle it."""
    require_role(request, "approver")
    with _open_desk(request) as desk:
        item = request.path_params["item"]
        contents, board = _item_contents(request, desk, item), desk.read_board()
        if not board.is_complete(item):
            raise SpecError(f"{item} is not labelled by all its raters yet", cure="Settle it once it is.")
        disputed = board.list_disputed()
        return render(
            request,
            "review_dispute.html.j2",
            **contents,
            labels=list(board.labels[item].values()),
            settled=board.settled.get(item),
            following=next((one for one in disputed if one != item), ""),
            left=len(disputed),
            kept=_find_kept(request, list(board.settled)),
            unsure=UNSURE,
        )


def settle_dispute(request: Request) -> Response:
    """Takes down what whoever is here decides about an item; then shows the next one to settle."""
    session = require_role(request, "approver")
    form, item = request.state.form, request.path_params["item"]
    with _open_desk(request) as desk:
        note, seen = _read_text(form, "comment"), form.get("seen", "")
        desk.settle_item(_rater(session), item, form.get("label", ""), note, seen)
        left = desk.read_board().list_disputed()
    return RedirectResponse(_at_queue(request)(*(("disputes", left[0]) if left else ()), kept=item), 303)


def decide_queue(request: Request) -> Response:
    """Makes votes of a review of rules, each in the name of the rater who gave the label."""
    require_role(request, "approver")
    decide_rules(find_directory(request), request.path_params["queue"], patience=PATIENCE)
    return RedirectResponse(_at_queue(request)() + "#decisions", 303)


def _at_queue(request: Request) -> Callable[..., str]:
    """Addresses below that of the queue."""
    return partial(make_link, "runs", request.path_params["run"], "reviews", request.path_params["queue"])


def _open_desk(request: Request) -> ReviewDesk:
    return ReviewDesk(find_directory(request), request.path_params["queue"])


def _rater(session: StudioSession) -> Rater:
    return Rater(session.person, session.role)


def _list_own(desk: ReviewDesk, session: StudioSession) -> list[str]:
    """The items that a person labelled, in the order of the journal."""
    return [label.item for label in desk.read_board().list_own(session.person)]


def _go_on(request: Request, desk: ReviewDesk, rater: Rater, kept: str = "") -> Response:
    item = desk.take_item(rater)
    at = _at_queue(request)
    return RedirectResponse(at("items", item.id, kept=kept) if item else at(kept=kept, left="none"), 303)


def _find_kept(request: Request, known: list[str]) -> str:
    """The item that was just taken down, where the address names one that was."""
    named = request.query_params.get("kept", "")
    return named if named in known else ""


def _read_text(form: dict[str, str], field: str) -> str:
    return form.get(field, "").replace("\r\n", "\n").strip()


def _read_count(text: str) -> int | None:
    """A number of a form; None where nothing was typed. Raises SpecError."""
    if not text.strip():
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MOST_DRAWN):
        raise SpecError(f"{text!r:.40} is no count", cure=f"Give a number from 1 to {MOST_DRAWN:,}, or nothing.")
    return int(text)


def _say_figure(figure: AgreementFigure) -> str:
    """A figure of agreement with its interval."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "not defined"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
