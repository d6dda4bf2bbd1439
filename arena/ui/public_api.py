"""Numbers for programs: `/api/v1/leaderboard`, the same document as `paragone leaderboard --json -`, and `/healthz`."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from paragone.arena.leaderboard import METHODS, Voters, store_leaderboard
from paragone.arena.ui.limits import LIMITER, retry_after
from paragone.arena.ui.middleware import NETWORK_KEY
from paragone.arena.ui.reading import OpenProject, open_project
from paragone.data.errors import NotIdentifiable, ParagoneError, UsageError

FRESH_S = 30  # a document is kept so long, whatever is voted meanwhile: many may ask, and a board takes a while
CACHED = {"Cache-Control": f"public, max-age={FRESH_S}"}
NOT_CACHED = {"Cache-Control": "no-store"}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """A board as bytes, of when (monotonic, s), and what names its content."""

    body: bytes
    made_at: float
    etag: str


_documents: dict[tuple[str, str, str], Document] = {}
_one_at_a_time = threading.Lock()


def send_leaderboard(request: Request) -> Response:
    """The board as `paragone.leaderboard/1`. Parameters: `voters` and `method`, as the command has them."""
    wait = LIMITER.wait_s("api", network=request.scope.get(NETWORK_KEY, ""))
    if wait:
        return _problem(429, "too many requests", {"Retry-After": retry_after(wait)})
    try:
        project = open_project()
        if project is None:
            return _problem(404, "there is no project here")
        voters = _voters(project, request.query_params.get("voters"))
        method = request.query_params.get("method", METHODS[0])
        if method not in METHODS:
            return _problem(400, f"method is one of {', '.join(METHODS)}")
        document = _document(project, voters, method)
    except UsageError as error:
        return _problem(400, str(error))
    except NotIdentifiable as error:
        return _problem(409, str(error))
    except ParagoneError as error:
        log.error("no leaderboard could be sent: %s", error)
        return _problem(503, "the board cannot be computed; the server's log says why")
    headers = CACHED | {"ETag": document.etag}
    if request.headers.get("if-none-match") == document.etag:
        return Response(status_code=304, headers=headers)
    return Response(document.body, media_type="application/json", headers=headers)


def send_health(request: Request) -> Response:
    """Whether the project can be read."""
    try:
        project = open_project()
        if project is not None:
            project.store.data_version()
    except ParagoneError as error:
        log.error("not healthy: %s", error)
        return JSONResponse({"status": "the project cannot be read"}, 503, NOT_CACHED)
    return JSONResponse({"status": "ok" if project else "no project"}, headers=NOT_CACHED)


def _voters(project: OpenProject, asked: str | None) -> Voters:
    """Whose votes: those asked for, else the only kind that has voted."""
    if asked is not None:
        for voters in get_args(Voters):
            if asked == voters:
                chosen: Voters = voters
                return chosen
        raise UsageError(f"voters is one of {', '.join(get_args(Voters))}")
    kinds = project.kinds()
    if len(kinds) > 1:
        raise UsageError("both people and judges have voted; say whose board is wanted: ?voters=human, judge or all")
    return kinds[0] if kinds else "all"


def _document(project: OpenProject, voters: Voters, method: str) -> Document:
    key = (project.key, voters, method)
    with _one_at_a_time:
        known = _documents.get(key)
        if known is not None and time.monotonic() - known.made_at < FRESH_S:
            return known
        board = store_leaderboard(project.store, voters=voters, method=method)
        text = json.dumps(board.document(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
        body = text.encode()
        made = Document(body, time.monotonic(), f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        for other in [other for other in _documents if other[0] != project.key]:  # of a project opened before
            del _documents[other]
        _documents[key] = made
        return made


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, NOT_CACHED | (headers or {}))


ROUTES = [
    Route("/api/v1/leaderboard", send_leaderboard, methods=["GET"]),
    Route("/healthz", send_health, methods=["GET"]),
]
