"""What every request passes first: is the address ours, is the page calling us ours, is it too much; and its headers.

One plain ASGI class around Streamlit's own application and our routes, because each request pays for it: under a tenth
of a millisecond. Refusals say nothing but why.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import file_util

from paragone.arena.ui import TRUSTED_PROXIES_VARIABLE, access
from paragone.arena.ui.access import host_name, is_loopback
from paragone.arena.ui.identity import COOKIE, COOKIE_S, NETWORK_HEADER, network_of, new_cookie, voter_of
from paragone.arena.ui.limits import LIMITER, Rate, retry_after

UPLOADS = "/_stcore/upload_file/"
CLOSED = ("/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")  # nobody's business but ours
NO_PAGES = ("/static/", "/_stcore/", "/media/", "/component/", "/arena/", "/api/", "/healthz", "/favicon")
METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BODY_LIMIT = 64 * 1024  # bytes of a request that uploads nothing
MESSAGES = Rate(100, 20)  # of one page's connection
MULTIPART_SLACK = 64 * 1024
NETWORK_KEY, COOKIE_KEY = "paragone.network", "paragone.cookie"  # of the scope that our routes are called with
POLICY_VIOLATION = 1008  # RFC 6455
_COOKIES = re.compile(rf"(?:^|;)\s*{COOKIE}=([^;\s]*)")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Refused(NamedTuple):
    """Why a request goes no further."""

    status: int
    reason: str
    retry_after: str = ""


class Asked(NamedTuple):
    """What of a request's headers decides."""

    host: str
    origin: str | None
    cookie: str | None
    site: str  # Sec-Fetch-Site
    length: int | None
    forwarded: bool


def content_security_policy(inline_scripts: Iterable[str]) -> str:
    """What the pages may load: from this server alone, and Streamlit's own inline scripts by their digest.

    Streamlit sets styles from its scripts, and loads components from blobs.
    """
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline_scripts)
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
        "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


def _streamlit_scripts() -> list[str]:
    return _SCRIPT.findall((Path(file_util.get_static_dir()) / "index.html").read_text())


def security_headers() -> list[tuple[bytes, bytes]]:
    """Headers of every response."""
    headers = {
        "Content-Security-Policy": content_security_policy(_streamlit_scripts()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


class Guard:
    """The middleware; its options are Streamlit's `server.allowedHosts`, `server.address`, `server.maxUploadSize`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = security_headers()
        self._replaced = frozenset(name for name, _ in self._headers)
        self._allowed = tuple(host.strip().lower().rstrip(".") for host in st.get_option("server.allowedHosts") or ())
        self._local = is_loopback(st.get_option("server.address") or "")
        self._own_name = socket.gethostname().lower()
        self._upload_limit = int(st.get_option("server.maxUploadSize")) * 2**20 + MULTIPART_SLACK
        self._knows_proxies = TRUSTED_PROXIES_VARIABLE in os.environ

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a size limit on the body and with our headers on the response."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = _read_headers(scope)
        network = self._network(scope, asked)
        refused = self._refusal(scope, asked, network)
        if scope["type"] == "websocket":
            if refused:
                await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refused.reason})
                return
            own = NETWORK_HEADER.encode()
            headers = [(name, value) for name, value in scope["headers"] if name != own]
            await self._app({**scope, "headers": [*headers, (own, network.encode())]}, _paced(receive), send)
            return
        cookie = b""
        if refused is None and _may_be_page(scope) and voter_of(asked.cookie) is None:
            wait = LIMITER.wait_s("voter", network=network)
            refused = Refused(429, "too many new visitors from this network", retry_after(wait)) if wait else None
            cookie = _cookie_header(secure=scope.get("scheme") == "https")
        scope[NETWORK_KEY], scope[COOKIE_KEY] = network, asked.cookie
        if refused is not None:
            await self._answer(send, refused)
            return
        body = receive if scope["method"] in METHODS else _limited(receive, self._body_limit(scope["path"]))
        await self._app(scope, body, self._with_headers(send, cookie))

    def _refusal(self, scope: Scope, asked: Asked, network: str) -> Refused | None:
        path: str = scope["path"]
        if not self._is_our_host(asked.host):
            return Refused(421, "this server does not answer to that name; see --allow-host")
        if any(part in path for part in CLOSED):
            return Refused(404, "Not Found")
        changes = scope["type"] == "websocket" or scope["method"] not in METHODS
        if changes and asked.origin is not None and asked.origin.partition("://")[2].lower() != asked.host.lower():
            return Refused(403, "asked by a page of another site")
        if changes and asked.site not in ("", "same-origin", "none"):
            return Refused(403, "asked by a page of another site")
        if scope["type"] == "websocket":
            wait = LIMITER.wait_s("socket", network=network)
            return Refused(429, "too many connections", retry_after(wait)) if wait else None
        if changes:
            if not path.startswith(UPLOADS) or scope["method"] not in ("PUT", "POST", "DELETE"):
                return Refused(405, "Method Not Allowed")
            if not access.may_upload(path.removeprefix(UPLOADS).partition("/")[0]):
                return Refused(403, "only an admin may upload")
        if asked.length is not None and asked.length > self._body_limit(path):
            return Refused(413, "the request is too large")
        return None

    def _is_our_host(self, host: str) -> bool:
        """Whether a request that calls us `host` was meant for us, not led here by a name that somebody rebound."""
        name = host_name(host)
        if not name:
            return False
        if is_loopback(name) or (not self._local and _is_address(name)):  # no name that could have been rebound
            return True
        if not self._allowed:
            return not self._local and name == self._own_name
        return any(
            allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:]))
            for allowed in self._allowed
        )

    def _network(self, scope: Scope, asked: Asked) -> str:
        """Whose request it is, for the limits.

        uvicorn believes X-Forwarded-For of the proxies that it was told of. Where nobody told it, it believes this
        machine's, which anybody on it can forge: then all who send that header are one network.
        """
        if asked.forwarded and not self._knows_proxies:
            return network_of("forwarded")
        client = scope.get("client")
        return network_of(client[0] if client else "unknown")

    def _body_limit(self, path: str) -> int:
        return self._upload_limit if path.startswith(UPLOADS) else BODY_LIMIT

    def _with_headers(self, send: Send, cookie: bytes) -> Send:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() not in self._replaced]
                if cookie and _is_page(message["status"], headers):
                    headers = [pair for pair in headers if pair[0].lower() != b"cache-control"]
                    headers += [(b"set-cookie", cookie), (b"cache-control", b"private, no-store")]
                message = {**message, "headers": headers + self._headers}
            await send(message)

        return send_guarded

    async def _answer(self, send: Send, refused: Refused) -> None:
        body = refused.reason.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        headers.append((b"cache-control", b"no-store"))
        if refused.retry_after:
            headers.append((b"retry-after", refused.retry_after.encode()))
        await send({"type": "http.response.start", "status": refused.status, "headers": headers + self._headers})
        await send({"type": "http.response.body", "body": body})


def _read_headers(scope: Scope) -> Asked:
    host, origin, cookie, site, length, forwarded = "", None, None, "", None, False
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1") if not host else "?"  # two of them: whose is it?
        elif name == b"origin":
            origin = value.decode("latin-1")
        elif name == b"cookie" and COOKIE.encode() in value:
            cookie = next(reversed(_COOKIES.findall(value.decode("latin-1"))), None)
        elif name == b"sec-fetch-site":
            site = value.decode("latin-1")
        elif name == b"content-length":
            length = int(value) if value.isdigit() else 2**63
        elif name == b"x-forwarded-for":
            forwarded = True
    return Asked(host, origin, cookie, site, length, forwarded)


def _cookie_header(*, secure: bool) -> bytes:
    value = f"{COOKIE}={new_cookie()}; Max-Age={COOKIE_S}; Path=/; HttpOnly; SameSite=Lax"
    return (f"{value}; Secure" if secure else value).encode()


def _may_be_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and not scope["path"].startswith(NO_PAGES)


def _is_page(status: int, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a response is a page, or says that the browser has it already."""
    kinds = [value for name, value in headers if name.lower() == b"content-type"]
    return status == 304 or (status == 200 and any(kind.startswith(b"text/html") for kind in kinds))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _paced(receive: Receive) -> Receive:
    """A page's messages, no faster than `MESSAGES`: each costs a run of its script, and who sends more waits."""
    due = 0.0

    async def receive_paced() -> Message:
        nonlocal due
        message = await receive()
        now = time.monotonic()
        due = max(due, now) + 1 / MESSAGES.per_s
        wait = due - now - MESSAGES.burst / MESSAGES.per_s
        if wait > 0:
            await asyncio.sleep(wait)
        return message

    return receive_paced


def _limited(receive: Receive, limit: int) -> Receive:
    """The body, cut off where it is longer than it may be: whoever reads it then sees a client that went away."""
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= limit else {"type": "http.disconnect"}

    return receive_limited
