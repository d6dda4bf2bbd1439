"""The pictures and clips of a battle: `/arena/m/TOKEN/a`, `/b`; of an editing task also `/s`, its input, and `/m`.

The address is the battle's token, so it means nothing to anybody else and nothing later: only the voter to whom the
battle was issued gets an answer, for a day. What is sent is a rendition (`renditions`, `video_renditions`), never a
model's own file; `/m` is the edge of the task's mask. Clips are also sent in parts, which browsers ask for when
somebody jumps (RFC 9110, 14).

The clips of the gallery, where names are shown, are at `/arena/clips/SAMPLE`.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from paragone.arena.store_issued import issued_battle, stored_sample
from paragone.arena.store_votes import IssuedBattle
from paragone.arena.ui.identity import voter_of
from paragone.arena.ui.limits import LIMITER, retry_after
from paragone.arena.ui.middleware import COOKIE_KEY, NETWORK_KEY
from paragone.arena.ui.pictures import MovingPicture
from paragone.arena.ui.reading import OpenProject, open_project
from paragone.arena.ui.renditions import Pair, Renditions, render_outline, render_source
from paragone.arena.ui.video_renditions import ClipRenditions
from paragone.data.errors import ParagoneError, UnreadableImage
from paragone.data.records import Sample

Side = Literal["a", "b", "s", "m"]
LIFETIME_S = 24 * 3600  # of a battle's pictures, from when it was issued
REREAD_S = 600  # a battle that was looked up is looked up again after this long
NO_STORE = {"Cache-Control": "private, no-store"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
PNG, MP4 = "image/png", "video/mp4"
_RENDITIONS = Renditions()
_CLIPS = ClipRenditions()
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
        content, kind = _content(project, issued, side)
        if kind == MP4:
            return send_part(request, content, kind)
        return Response(content, media_type=kind, headers=NO_STORE)
    except LookupError:
        return _plain(404, "Not Found")
    except MovingPicture as error:
        log.error("battle %s: %s", issued.battle.id, error)
        return _plain(415, "These two cannot be shown side by side. The server's log says more.")
    except UnreadableImage as error:
        log.error("battle %s: %s", issued.battle.id, error)  # whose file it is must not be told before the vote
        return _plain(500, "This picture cannot be read. The server's log says more.")
    except ParagoneError as error:
        log.error("no picture could be sent: %s", error)
        return _plain(503, "The project cannot be read. The server's log says more.")


def clip_url(sample: str) -> str:
    """Where the clip of a sample (its id) is."""
    return f"/arena/clips/{quote(sample, safe='')}"


def send_clip(request: Request) -> Response:
    """A sample's clip, for whoever looks at the gallery; 404 for still pictures."""
    voter = voter_of(request.scope.get(COOKIE_KEY)) or ""
    wait = LIMITER.wait_s("media", voter=voter, network=request.scope.get(NETWORK_KEY, ""))
    if wait:
        return _plain(429, "Too many clips in a short time.", {"Retry-After": retry_after(wait)})
    try:
        project = open_project()
        sample = None if project is None else stored_sample(project.store, request.path_params["sample"])
        if project is None or sample is None:
            return _plain(404, "Not Found")
        return send_part(request, _CLIPS.alone(project.folder, sample), MP4)
    except LookupError:
        return _plain(404, "Not Found")
    except UnreadableImage as error:
        log.error("clip: %s", error)
        return _plain(500, "This clip cannot be read. The server's log says more.")
    except ParagoneError as error:
        log.error("no clip could be sent: %s", error)
        return _plain(503, "The project cannot be read. The server's log says more.")


def _content(project: OpenProject, issued: IssuedBattle, side: Side) -> tuple[bytes, str]:
    """What is sent, and its media type."""
    if side == "s":
        if issued.prompt.source is None:
            raise LookupError(side)
        try:
            return render_source(project.folder, issued.prompt.source), PNG
        except MovingPicture:
            return _CLIPS.source(project.folder, issued.prompt.source), MP4
    if side == "m":
        if issued.prompt.mask is None:
            raise LookupError(side)
        return render_outline(project.folder, issued.prompt.mask), PNG
    pair, kind = _pair(project.folder, issued.sample_a, issued.sample_b)
    return (pair.a if side == "a" else pair.b), kind


def _pair(folder: Path, sample_a: Sample, sample_b: Sample) -> tuple[Pair, str]:
    if not _CLIPS.known(folder, sample_a, sample_b):
        try:
            return _RENDITIONS.pair(folder, sample_a, sample_b), PNG
        except MovingPicture:
            pass  # which of the two moves is found out next
    return _CLIPS.pair(folder, sample_a, sample_b), MP4


def send_part(request: Request, content: bytes, kind: str) -> Response:
    """The content, or the one part of it that was asked for; anything but one well-formed range is answered in full."""
    headers = NO_STORE | {"Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if request.method != "GET" or "if-range" in request.headers or not asked or not any(asked.groups()):
        return Response(content, media_type=kind, headers=headers)
    first, last = (int(digits) if digits else None for digits in asked.groups())
    if first is None:  # the last so many bytes
        first, last = (max(0, len(content) - last), None) if last else (len(content), None)
    elif last is not None and last < first:
        return Response(content, media_type=kind, headers=headers)
    if first >= len(content):
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Response(status_code=416, headers=headers)
    part = content[first : len(content) if last is None else last + 1]
    headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
    return Response(part, 206, headers, kind)


@functools.lru_cache(maxsize=4096)
def _find(project: OpenProject, token: str, voter: str, period: int) -> IssuedBattle:
    """The battle, or `LookupError`, which is not kept."""
    issued = issued_battle(project.store, token, voter=voter, within_s=LIFETIME_S)
    if issued is None:
        raise LookupError(token)
    return issued


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text, status, NO_STORE | (headers or {}))


ROUTES = [
    Route("/arena/m/{token}/{side}", send_media, methods=["GET"]),
    Route("/arena/clips/{sample}", send_clip, methods=["GET"]),
]
