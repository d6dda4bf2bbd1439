"""The pictures of a battle: `/arena/m/TOKEN/a`, `/b`, and `/s` for the input of an editing task.

The address is the battle's token, so it means nothing to anybody else and nothing later: only the voter to whom the
battle was issued gets an answer, for a day. What is sent is a rendition (`renditions`), never a model's own file.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from typing import Literal, get_args

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from paragone.arena.store_issued import issued_battle
from paragone.arena.store_votes import IssuedBattle
from paragone.arena.ui.identity import voter_of
from paragone.arena.ui.limits import LIMITER, retry_after
from paragone.arena.ui.middleware import COOKIE_KEY, NETWORK_KEY
from paragone.arena.ui.pictures import MovingPicture
from paragone.arena.ui.reading import OpenProject, open_project
from paragone.arena.ui.renditions import Renditions, render_source
from paragone.data.errors import ParagoneError, UnreadableImage

Side = Literal["a", "b", "s"]
LIFETIME_S = 24 * 3600  # of a battle's pictures, from when it was issued
REREAD_S = 600  # a battle that was looked up is looked up again after this long
NO_STORE = {"Cache-Control": "private, no-store"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_RENDITIONS = Renditions()
log = logging.getLogger(__name__)


def media_url(token: str, side: Side) -> str:
    """Where one side's picture is, for the voter who was issued this battle."""
    return f"/arena/m/{token}/{side}"


def send_media(request: Request) -> Response:
    """One side of a battle; 404 for whoever it was not issued to."""
    token, side = request.path_params["token"], request.path_params["side"]
    voter = voter_of(request.scope.get(COOKIE_KEY))
    if voter is None or side not in get_args(Side) or not _TOKEN.fullmatch(token):
        return _plain(404, "Not Found")
    wait = LIMITER.wait_s("media", voter=voter, network=request.scope.get(NETWORK_KEY, ""))
    if wait:
        return _plain(429, "Too many pictures in a short time.", {"Retry-After": retry_after(wait)})
    try:
        project = open_project()
        if project is None:
            return _plain(404, "Not Found")
        issued = _find(project, token, voter, int(time.time() // REREAD_S))
        return Response(_content(project, issued, side), media_type="image/png", headers=NO_STORE)
    except LookupError:
        return _plain(404, "Not Found")
    except MovingPicture as error:
        log.error("battle %s: %s", issued.battle.id, error)
        return _plain(415, "This is no still picture. The server's log says more.")
    except UnreadableImage as error:
        log.error("battle %s: %s", issued.battle.id, error)  # whose file it is must not be told before the vote
        return _plain(500, "This picture cannot be read. The server's log says more.")
    except ParagoneError as error:
        log.error("no picture could be sent: %s", error)
        return _plain(503, "The project cannot be read. The server's log says more.")


def _content(project: OpenProject, issued: IssuedBattle, side: Side) -> bytes:
    if side == "s":
        if issued.prompt.source is None:
            raise LookupError(side)
        return render_source(project.folder, issued.prompt.source)
    pair = _RENDITIONS.pair(project.folder, issued.sample_a, issued.sample_b)
    return pair.a if side == "a" else pair.b


@functools.lru_cache(maxsize=4096)
def _find(project: OpenProject, token: str, voter: str, period: int) -> IssuedBattle:
    """The battle, or `LookupError`, which is not kept."""
    issued = issued_battle(project.store, token, voter=voter, within_s=LIFETIME_S)
    if issued is None:
        raise LookupError(token)
    return issued


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text, status, NO_STORE | (headers or {}))


ROUTES = [Route("/arena/m/{token}/{side}", send_media, methods=["GET"])]
