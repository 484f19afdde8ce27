"""Pages from templates: every text is escaped, and its control characters are replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from charter.errors import CharterError, DamagedError, EngineError, LockedError, SpecError, StaleError, StoreError
from charter.records.measurements import Score
from charter.reports.printable_text import escape_controls
from charter.reports.run_comparison import change_text, metric_name, signed_points
from charter.studio.run_processes import RunProcesses
from charter.studio.run_shelf import RunShelf
from charter.studio.sessions import SessionBook, StudioRole, StudioSession

if TYPE_CHECKING:
    from jinja2 import Environment
    from starlette.requests import Request

    from charter.studio.record_search import RecordFiles

MAX_CELL = 160
"""Characters of a text in a table."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]*")
"""What stands in an address as it is; asking is several times faster than quoting it."""
_TELLING = (("prompt", "response"), ("messages",), ("text",), ("content",), ("title",), ("exchange",), ("id",))
"""The fields that say most of a record, by kind."""
_STATUS = (
    (LockedError, 409),
    (StaleError, 409),
    (DamagedError, 500),
    (StoreError, 404),
    (SpecError, 400),
    (EngineError, 502),
)


@dataclass(frozen=True)
class Studio:
    """What every page works with; the application carries it."""

    shelf: RunShelf
    files: RecordFiles
    book: SessionBook
    processes: RunProcesses
    jinja: Environment
    cookie: str


def studio_of(request: Request) -> Studio:
    """What the application of a request carries."""
    found = request.app.state.studio
    assert isinstance(found, Studio)
    return found


def session_of(request: Request) -> StudioSession:
    """Who asks. Raises HTTPException where nobody came in."""
    found = request.state.session
    if not isinstance(found, StudioSession):
        raise HTTPException(401)
    return found


def require_role(request: Request, role: StudioRole) -> StudioSession:
    """Who asks, if that one may do what ``role`` may. Raises HTTPException."""
    session = session_of(request)
    if not session.may_act_as(role):
        raise HTTPException(403, f"This needs the role {role}; you are here as {session.role}.")
    return session


def make_environment() -> Environment:
    """The templates of the studio, with the charts of the report."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=ChoiceLoader([PackageLoader("charter.studio"), PackageLoader("charter.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_show,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    jinja.filters |= {
        "changed": change_text,
        "signed": signed_points,
        "spoken": metric_name,
        "percent": _percent,
        "share": share_of_score,
        "cell": shorten_value,
        "pretty": _indent_json,
    }
    jinja.globals |= {"link": make_link}
    return jinja


def render(request: Request, template: str, status: int = 200, **contents: Any) -> HTMLResponse:
    """A page, with who asks and the mark of the session."""
    text = studio_of(request).jinja.get_template(template)
    return HTMLResponse(text.render(session=request.state.session, **contents), status)


def render_error(request: Request, error: Exception) -> Response:
    """What happened and what to do, as a page."""
    if isinstance(error, HTTPException):
        status, message, cure = error.status_code, error.detail, ""
    else:
        assert isinstance(error, CharterError)
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        message, cure = error.message, error.cure
    return render(request, "refused.html.j2", status, reason=message, cure=cure, phrase=HTTPStatus(status).phrase)


def make_link(*parts: str, **query: object) -> str:
    """An address in the studio: each part is one segment of the path, and empty values of the query are left out."""
    path = "/" + "/".join(part if _PLAIN.fullmatch(part) else quote(part, safe="") for part in parts)
    kept = {name: value for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(kept)}" if kept else path


def read_page_number(text: str) -> int:
    """A page's number, counted from 1; 1 where the text is none."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def share_of_score(score: Score | None) -> str:
    """A score in percent with its interval; a dash where it is unknown."""
    if score is None or score.value is None or score.low is None or score.high is None:
        return "–"
    return f"{score.value:.1%} ({score.low:.1%} to {score.high:.1%})"


def shorten_value(value: Any) -> str:
    """A field of a record in a few words: its text where it has one, else its JSON."""
    text = " ".join(_words_of(value).split())
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…"


def _words_of(value: Any) -> str:
    if isinstance(value, str):
        return value[: 8 * MAX_CELL]
    if isinstance(value, dict):
        for keys in _TELLING:
            if all(key in value for key in keys):
                return " → ".join(_words_of(value[key]) for key in keys)
    if isinstance(value, Sequence) and len(value) and all(isinstance(part, dict) for part in value):
        return " / ".join(_words_of(part) for part in value[:3]) + (f" (+{len(value) - 3})" if len(value) > 3 else "")
    return json.dumps(value, ensure_ascii=False)[: 8 * MAX_CELL]


def _show(value: object) -> object:
    """What stands in a page: numbers and texts; a template's own markup is left as it is."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else escape_controls(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _indent_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
