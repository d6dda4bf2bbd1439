"""Who may see the admin's pages: whoever knows the password, whom the login elsewhere names, or this machine's user.

With neither a password nor a login (OIDC, `st.login`), the pages open on the machine itself and are off everywhere
else: what comes through a proxy, by another name, or to an address that others reach is refused.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.secrets import secrets_singleton

from paragone.arena.ui import NO_PROXY, TRUSTED_PROXIES_VARIABLE
from paragone.arena.ui.identity import current_network
from paragone.arena.ui.limits import LIMITER, retry_after
from paragone.arena.ui.passwords import admin_emails, admin_hash, is_right
from paragone.arena.ui.reading import project_paths
from paragone.data.errors import InputError

IDLE_S = 30 * 60  # without a click, after which the password is asked for again
LONGEST_S = 8 * 3600
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")
SIGN_IN_PX = 420
_VISIT = "admin-visit"
_uploaders: dict[str, float] = {}  # Streamlit's sessions of admins, and until when (monotonic, s)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visit:
    """An admin who is signed in; times are monotonic, in seconds."""

    actor: str
    since: float
    last: float

    def is_over(self, now: float) -> bool:
        """Whether the password has to be asked for again."""
        return now - self.last > IDLE_S or now - self.since > LONGEST_S


def require_admin() -> str:
    """The admin's name, for what they do; anybody else is shown how to sign in, and the page ends here."""
    try:
        hashed, emails = admin_hash(_folder()), admin_emails(_folder())
    except InputError as error:
        log.error("the admin's pages are off: %s", error)
        st.error("These pages are off: their settings cannot be used. The server's log says why.")
        st.stop()
    actor = _signed_in(hashed, emails)
    if actor is None:
        _draw_sign_in(hashed)
        st.stop()
    context = get_script_run_ctx()
    if context is not None:
        _uploaders[context.session_id] = time.monotonic() + IDLE_S
    _draw_sign_out()
    return actor


def admin_possible() -> bool:
    """Whether anybody could be an admin here: where not, the pages need not be offered."""
    try:
        return _has_login() or _on_this_machine() or admin_hash(_folder()) is not None
    except InputError:
        return True


def may_upload(session_id: str) -> bool:
    """Whether this Streamlit session is an admin's: files of any other are refused unread."""
    now = time.monotonic()
    for session in [session for session, until in _uploaders.items() if until < now]:
        _uploaders.pop(session, None)
    return session_id in _uploaders


def _draw_sign_out() -> None:
    if _VISIT in st.session_state or _has_login():
        with st.container(horizontal_alignment="right"):
            end = _sign_out if _VISIT in st.session_state else st.logout
            st.button("Sign out", key="sign-out", on_click=end, type="tertiary", icon=":material/logout:")


def _sign_out() -> None:
    st.session_state.pop(_VISIT, None)
    context = get_script_run_ctx()
    if context is not None:
        _uploaders.pop(context.session_id, None)


def _signed_in(hashed: str | None, emails: frozenset[str]) -> str | None:
    now = time.monotonic()
    visit: Visit | None = st.session_state.get(_VISIT)
    if visit is not None and hashed is not None and not visit.is_over(now):
        st.session_state[_VISIT] = replace(visit, last=now)
        return visit.actor
    if _has_login():
        email = _logged_in_email()
        if email is not None and email in emails:
            return email
    if hashed is None and not _has_login() and _on_this_machine():
        return "admin"
    return None


def _draw_sign_in(hashed: str | None) -> None:
    if _has_login():
        if _logged_in_email() is None:
            st.button("Log in", on_click=st.login, type="primary")
        else:
            st.error("This account is not one of the admins.", icon=":material/lock:")
            st.button("Log out", on_click=st.logout)
    if hashed is not None:
        with st.form("sign-in", clear_on_submit=True, width=SIGN_IN_PX):
            password = st.text_input("Password of the admin", type="password", max_chars=256)
            tried = st.form_submit_button("Sign in", type="primary")
        if tried:
            _try(password, hashed)
    elif not _has_login():
        st.error("These pages are off on this server: it has no password for its admin.", icon=":material/lock:")
        st.caption("Start it with --admin-password-file FILE.")


def _try(password: str, hashed: str) -> None:
    wait = LIMITER.wait_s("login", network=current_network())
    if wait:
        st.error(f"Too many tries; wait {retry_after(wait)} s.", icon=":material/lock:", width=SIGN_IN_PX)
        return
    if not is_right(password, hashed):
        log.warning("wrong password of the admin, from network %s", current_network() or "unknown")
        st.error("That is not the password.", icon=":material/lock:", width=SIGN_IN_PX)
        return
    now = time.monotonic()
    st.session_state[_VISIT] = Visit("admin", now, now)
    log.info("the admin signed in, from network %s", current_network() or "unknown")
    st.rerun()


def _folder() -> Path | None:
    paths = project_paths()
    return None if paths is None else paths[0]


def _has_login() -> bool:
    """Whether secrets.toml sets up a login elsewhere."""
    return secrets_singleton.load_if_toml_exists() and "auth" in secrets_singleton


def _logged_in_email() -> str | None:
    """The address of who logged in, which the login vouches for."""
    if not st.user.get("is_logged_in", False):
        return None
    email = st.user.get("email")
    vouched = st.user.get("email_verified", True) in (True, "true")
    return str(email).strip().lower() if email and vouched else ""


def _on_this_machine() -> bool:
    """Whether server and visitor are on one machine, with nothing between: no proxy, no name but the machine's own."""
    headers = {name.lower(): value for name, value in st.context.headers.to_dict().items()}
    if not headers:  # no connection at all: a test of the page
        return True
    proxied = os.environ.get(TRUSTED_PROXIES_VARIABLE, NO_PROXY) != NO_PROXY
    allowed = [host for host in st.get_option("server.allowedHosts") or () if not is_loopback(host)]
    return (
        is_loopback(st.get_option("server.address") or "")
        and is_loopback(host_name(headers.get("host", "")))
        and not proxied
        and not allowed
        and not any(name in headers for name in FORWARDED)
    )


def host_name(host: str) -> str:
    """The name in a Host header, in small letters, without port and brackets; empty when it is none."""
    name, _, rest = host.strip().lower().rpartition("]") if host.startswith("[") else ("", "", host.strip().lower())
    if name:
        return name[1:] if not rest or (rest[0] == ":" and rest[1:].isdigit()) else ""
    name, colon, port = rest.partition(":")
    if (colon and not port.isdigit()) or not name or set(name) - _HOST_CHARACTERS:
        return ""
    return name.rstrip(".")


_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")


def is_loopback(name: str) -> bool:
    """Whether a name or address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
