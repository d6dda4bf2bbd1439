"""The admin's pages: closed where nobody can be an admin, opened by the password alone, and not for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from paragone.arena.store import Store
from paragone.arena.ui import access, passwords
from paragone.arena.ui.limits import LIMITS, Limiter, Rate, Rates
from paragone.data.errors import InputError

PASSWORD = "correct horse"
PAGE = """
import streamlit as st
from paragone.arena.ui.access import admin_possible, require_admin
st.caption(f"possible: {admin_possible()}")
actor = require_admin()
st.text(f"hello {actor}")
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Store(tmp_path / "arena.db", create=True).close()
    monkeypatch.setenv("PARAGONE_DIR", str(tmp_path))
    for name in ("PARAGONE_DB", "PARAGONE_ADMIN_PASSWORD", "PARAGONE_ADMIN_PASSWORD_FILE", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passwords, "COST", (2**4, 8, 1))
    monkeypatch.setattr(access, "LIMITER", Limiter(LIMITS))
    passwords._hash_of.cache_clear()
    return tmp_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_on_this_machine", lambda: False)


def page() -> AppTest:
    return AppTest.from_string(PAGE, default_timeout=30).run()


def is_open(app: AppTest) -> bool:
    assert not app.exception
    return [text.value for text in app.text] == ["hello admin"]


def sign_in(app: AppTest, password: str) -> AppTest:
    app.text_input[0].set_value(password)
    next(button for button in app.button if button.label == "Sign in").click()
    return app.run()


def test_open_on_this_machine_while_there_is_no_password() -> None:
    app = page()
    assert is_open(app)
    assert not app.button  # there is nothing to sign out of


def test_closed_elsewhere_while_there_is_no_password(elsewhere: None) -> None:
    app = page()
    assert not is_open(app)
    assert "off on this server" in app.error[0].value
    assert app.caption[0].value == "possible: False"
    assert not app.text_input


def environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAGONE_ADMIN_PASSWORD", PASSWORD)


def file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("PARAGONE_ADMIN_PASSWORD_FILE", str(folder / "password"))


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "paragone.toml").write_text(f'[admin]\npassword = "{passwords.hash_password(PASSWORD)}"\n')


@pytest.mark.parametrize("setting", [environment, file, settings])
def test_password(
    project: Path, monkeypatch: pytest.MonkeyPatch, setting: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    setting(project, monkeypatch)
    app = page()
    assert app.caption[0].value == "possible: True"
    assert not is_open(app)  # on this machine, too
    for wrong in ("wrong horse", PASSWORD[:-1], PASSWORD + " ", ""):
        assert not is_open(sign_in(app, wrong))
        assert "not the password" in app.error[0].value
    assert is_open(sign_in(app, PASSWORD))
    assert is_open(app.run())
    assert PASSWORD not in str(app.session_state._state.filtered_state)
    assert not is_open(page())  # another visitor
    assert [button.label for button in app.button] == ["Sign out"]
    app.button[0].click().run()
    assert not is_open(app)


def test_guessing_is_slow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(project, monkeypatch)
    rates = Rates(None, LIMITS["login"].network, Rate(3, LIMITS["login"].everyone.per_s))
    monkeypatch.setattr(access, "LIMITER", Limiter({"login": rates}))
    app = page()
    for _ in range(3):
        sign_in(app, "wrong horse")
    assert "Too many tries" not in app.error[0].value
    assert "Too many tries" in sign_in(app, PASSWORD).error[0].value
    assert not is_open(app)


@pytest.mark.parametrize("later_s", [access.IDLE_S + 1, access.LONGEST_S + 1])
def test_a_visit_ends(project: Path, monkeypatch: pytest.MonkeyPatch, later_s: float) -> None:
    environment(project, monkeypatch)
    app = sign_in(page(), PASSWORD)
    assert is_open(app)
    now = time.monotonic()
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: now + later_s))
    assert not is_open(app.run())


def test_clicking_keeps_a_visit_but_not_beyond_the_longest(project: Path) -> None:
    visit = access.Visit("admin", 0.0, access.LONGEST_S - 10.0)
    assert not visit.is_over(access.LONGEST_S - 1.0)
    assert visit.is_over(access.LONGEST_S + 1.0)


def test_only_an_admins_session_uploads(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_uploaders", {})
    environment(project, monkeypatch)
    app = page()
    assert access._uploaders == {}
    sign_in(app, PASSWORD)
    (session,) = access._uploaders
    assert access.may_upload(session)
    assert not access.may_upload("another")
    now = time.monotonic()
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: now + access.IDLE_S + 1))
    assert not access.may_upload(session)


class TestThisMachine:
    def on_this_machine(
        self, monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1", hosts: tuple[str, ...] = (), **headers: str
    ) -> bool:
        options = {"server.address": address, "server.allowedHosts": ["localhost", *hosts]}
        sent = {"Host": "localhost:8501"} | {name.replace("_", "-"): value for name, value in headers.items()}
        context = SimpleNamespace(headers=SimpleNamespace(to_dict=lambda: sent))
        monkeypatch.setattr(access, "st", SimpleNamespace(context=context, get_option=options.get))
        return access._on_this_machine()

    def test_yes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.on_this_machine(monkeypatch)
        assert self.on_this_machine(monkeypatch, "::1", Host="[::1]:80")

    def test_no(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not self.on_this_machine(monkeypatch, "0.0.0.0")
        assert not self.on_this_machine(monkeypatch, "")
        assert not self.on_this_machine(monkeypatch, Host="arena.example")
        assert not self.on_this_machine(monkeypatch, hosts=("arena.example",))
        for name in ("X_Forwarded_For", "X_Real_IP", "Forwarded", "Via", "x_forwarded_proto"):
            assert not self.on_this_machine(monkeypatch, **{name: "127.0.0.1"})
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
        assert not self.on_this_machine(monkeypatch)


class TestLogin:
    """A login elsewhere, as Streamlit tells of it."""

    def email(self, monkeypatch: pytest.MonkeyPatch, user: dict[str, object]) -> str | None:
        monkeypatch.setattr(access, "st", SimpleNamespace(user=user))
        return access._logged_in_email()

    def test_only_a_verified_address_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.email(monkeypatch, {}) is None
        assert self.email(monkeypatch, {"is_logged_in": False, "email": "a@b.org"}) is None
        assert self.email(monkeypatch, {"is_logged_in": True, "email": "A@b.org"}) == "a@b.org"
        assert self.email(monkeypatch, {"is_logged_in": True, "email": "a@b.org", "email_verified": True}) == "a@b.org"
        for unproven in (False, None, "false", 0):
            user = {"is_logged_in": True, "email": "a@b.org", "email_verified": unproven}
            assert self.email(monkeypatch, user) == ""
        assert self.email(monkeypatch, {"is_logged_in": True}) == ""

    def test_an_account_alone_makes_no_admin(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(access, "_has_login", lambda: True)
        monkeypatch.setattr(access, "_logged_in_email", lambda: "a@b.org")
        app = page()
        assert not app.text
        assert "not one of the admins" in app.error[0].value
        (project / "paragone.toml").write_text('[admin]\nemails = ["A@b.org"]\n')
        assert [text.value for text in page().text] == ["hello a@b.org"]


class TestPasswords:
    def test_hash(self) -> None:
        hashed = passwords.hash_password(PASSWORD)
        assert hashed != passwords.hash_password(PASSWORD)
        assert passwords.check_hash(hashed, "here") == hashed
        assert passwords.is_right(PASSWORD, hashed)
        assert not passwords.is_right("wrong horse", hashed)
        with pytest.raises(InputError, match="shorter than 8"):
            passwords.hash_password("1234567")

    @pytest.mark.parametrize(
        "hashed",
        [
            "",
            "plain text",
            "scrypt$16$8$1$AA==$AA==",
            "scrypt$1048576$8$1${salt}",
            "md5$16$8$1${salt}",
            "scrypt$17$8$1${salt}",
        ],
    )
    def test_what_is_no_hash(self, hashed: str) -> None:
        rest = "$".join(passwords.hash_password(PASSWORD).split("$")[4:])
        with pytest.raises(InputError, match="here: not a hash"):
            passwords.check_hash(hashed.replace("{salt}", rest).replace("$$", "$"), "here")

    @pytest.mark.parametrize(
        "text", ["admin = 1", "[admin]\npassword = 12345678", '[admin]\npassword = "plain"', "[admin]\nemails = 1", "["]
    )
    def test_settings_that_cannot_be_used_close_the_pages(
        self, project: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (project / "paragone.toml").write_text(text)
        with caplog.at_level(logging.ERROR):
            app = page()
        assert not app.text
        assert "settings cannot be used" in app.error[0].value
        assert "paragone.toml" in caplog.text

    def test_file_that_is_gone(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PARAGONE_ADMIN_PASSWORD_FILE", str(project / "gone"))
        assert not page().text
