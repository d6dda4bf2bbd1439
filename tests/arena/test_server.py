"""The server as a stranger sees it: a real process, asked by raw HTTP. What it refuses, limits, hides and sends."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from sklearn.datasets import load_sample_image

from paragone.arena.store import Store
from paragone.arena.store_votes import IssuedBattle, insert_issued
from paragone.arena.ui import identity
from paragone.arena.ui.pictures import picture_of
from paragone.data import Battle, GeneratorCard, Prompt, Sample, Winner, sample_id
from paragone.data.files import file_digest

CANARY = "flux-canary-7c1e"  # in every place of a file where a generator may write its name
PASSWORD = "admin-canary-5b2d9f"
API_KEY = "key-canary-93ab77"
MODELS = ("model-anna", "model-bert")
STEP = 64 * 1024
Pixels = np.ndarray


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(pixels: Pixels, *chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    content = buffer.getvalue()
    return content[:33] + b"".join(chunks) + content[33:]


def encoded(pixels: Pixels, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def jpeg(pixels: Pixels, *segments: bytes, **options: object) -> bytes:
    content = encoded(pixels, "JPEG", quality=95, **options)
    return content[:2] + b"".join(segments) + content[2:]


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0131] = CANARY  # Software
    return tags


def profile() -> bytes:
    """A profile that is not sRGB and has the canary in its description."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    canary = CANARY.encode("utf-16-be")[: 2 * len("sRGB built-in")]
    return made.replace("sRGB built-in".encode("utf-16-be"), canary)


def text_chunks() -> dict[str, bytes]:
    name = CANARY.encode()
    return {
        "tEXt": chunk(b"tEXt", b"parameters\0Model: " + name),
        "zTXt": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(name)),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x>" + name + b"</x>"),
        "eXIf": chunk(b"eXIf", exif().tobytes()[6:]),
        "caBX": chunk(b"caBX", b"jumb c2pa " + name),
        "iCCP": chunk(b"iCCP", b"p\0\0" + zlib.compress(profile())),
        "priv": chunk(b"prVt", name),
        "tIME": chunk(b"tIME", bytes((7, 234, 11, 23, 1, 2, 3))) + chunk(b"pHYs", bytes(8) + b"\1"),
    }


CONTAINERS: dict[str, tuple[str, Callable[[Pixels], bytes]]] = {
    **{f"png {name}": (".png", lambda pixels, c=c: png(pixels, c)) for name, c in text_chunks().items()},
    "png trailer": (".png", lambda pixels: png(pixels) + b"PK\3\4 <script>" + CANARY.encode()),
    "jpeg exif": (".jpg", lambda pixels: jpeg(pixels, exif=exif())),
    "jpeg xmp": (".jpg", lambda p: jpeg(p, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + CANARY.encode()))),
    "jpeg comment": (".jpg", lambda pixels: jpeg(pixels, segment(0xFE, CANARY.encode()))),
    "jpeg c2pa": (".jpg", lambda pixels: jpeg(pixels, segment(0xEB, b"JP\0\1\0\0\0\1jumb" + CANARY.encode()))),
    "jpeg icc": (".jpg", lambda pixels: jpeg(pixels, icc_profile=profile())),
    "webp exif": (".webp", lambda p: encoded(p, "WEBP", lossless=True, exif=exif(), xmp=f"<x>{CANARY}</x>".encode())),
    "webp icc": (".webp", lambda pixels: encoded(pixels, "WEBP", lossless=True, icc_profile=profile())),
}


def bomb() -> bytes:
    """164 KB that would be 507 MB."""
    content = png(np.zeros((1, 1, 3), np.uint8))
    header = (13_000).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    body = zlib.compress(bytes(13_000 * 3 + 1) * 64)
    return content[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animation() -> bytes:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


SPOILT: dict[str, tuple[bytes, int]] = {
    "bomb": (bomb(), 500),
    "svg": (f"<svg xmlns='http://www.w3.org/2000/svg'><script>{CANARY}</script></svg>".encode(), 500),
    "html": (f"<html><script>{CANARY}</script></html>".encode(), 500),
    "truncated": (png(np.zeros((400, 300, 3), np.uint8))[:200], 500),
    "empty": (b"", 500),
    "video": (b"\0\0\0\x18ftypisom" + CANARY.encode() * 9, 415),
    "animation": (animation(), 415),
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True)
class Server:
    port: int
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        cookie: str | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {})
        if cookie is not None:
            sent["Cookie"] = f"{identity.COOKIE}={cookie}"
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        try:
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def handshake(self, **headers: str) -> int:
        """The status that a WebSocket's opening gets; `_` in a header's name stands for `-`."""
        asked = {"Host": f"127.0.0.1:{self.port}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        lines = [f"{name}: {value}" for name, value in asked.items()]
        key = base64.b64encode(bytes(16)).decode()
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as stream:
            stream.sendall("\r\n".join(["GET /_stcore/stream HTTP/1.1", *lines, "", ""]).encode())
            return int(stream.recv(4096).split()[1])


def pictures_of(container: str, content: Callable[[Pixels], bytes]) -> list[bytes]:
    photograph = load_sample_image("flower.jpg")
    return [content(np.ascontiguousarray(photograph[40:340, 60 + 50 * n : 460 + 50 * n])) for n in range(2)]


def add(store: Store, folder: Path, prompt: Prompt, contents: list[bytes], suffix: str, size: tuple[int, int]) -> None:
    store.add_prompts([prompt])
    for model, content in zip(MODELS, contents, strict=True):
        path = folder / "samples" / model / f"{prompt.id}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = file_digest(path)
        name = sample_id(model, prompt.id, 0, digest)
        place = path.relative_to(folder).as_posix()
        store.add_samples([Sample(name, digest, place, prompt.id, model, 0, *size)])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: list[str], folder: Path, log: Path, port: int, **options: object) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)  # type: ignore[call-overload]
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            break
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    return process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("project")
    with Store(folder / "arena.db", create=True) as store:
        store.add_generators(GeneratorCard(name) for name in MODELS)
        for number, (container, (suffix, content)) in enumerate(CONTAINERS.items()):
            pictures = pictures_of(container, content)
            add(store, folder, Prompt(f"p{number}", container), pictures, suffix, (400, 300))
    password, log = folder / "password", tmp_path_factory.mktemp("log") / "log"
    password.write_text(f"{PASSWORD}\n")
    port = free_port()
    options = ["--port", str(port), "--allow-host", "arena.example", "--admin-password-file", str(password)]
    command = [sys.executable, "-m", "paragone", "serve", "--dir", str(folder), *options]
    with start(command, folder, log, port, env=os.environ | {"VENDOR_API_KEY": API_KEY}) as process:
        yield Server(port, folder, log, process)
        process.terminate()


@pytest.fixture
def visitor(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cookie of somebody new, as the page sets it."""
    monkeypatch.setenv("PARAGONE_DIR", str(server.folder))
    monkeypatch.delenv("PARAGONE_DB", raising=False)
    return cookie_of(server.ask("/"))


def cookie_of(answer: Answer) -> str:
    found = re.fullmatch(
        rf"{identity.COOKIE}=([0-9a-f.]{{65}}); Max-Age=\d+; Path=/; HttpOnly; SameSite=Lax",
        answer.header("set-cookie") or "",
    )
    assert found
    return found[1]


def issue(server: Server, cookie: str, prompt: str = "png tEXt") -> IssuedBattle:
    """A battle for whoever has this cookie, of the prompt with this text."""
    voter = identity.voter_of(cookie)
    assert voter is not None
    with Store(server.folder / "arena.db") as store:
        (wanted,) = (known.id for known in store.prompts() if known.text == prompt)
        a, b = store.samples(prompt=wanted)
        battle = Battle(secrets.token_hex(16), wanted, a.model, b.model, a.id, b.id)
        with store._database.write() as connection:
            return insert_issued(connection, battle, voter=voter, propensity=1.0)


class TestAddresses:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8501", "[::1]:8501", "LOCALHOST.", "arena.example:443"])
    def test_own_names(self, server: Server, host: str) -> None:
        assert server.ask("/healthz", headers={"Host": host}).status == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:x", "a@localhost", "[::1", "",
         "sub.arena.example", "0.0.0.0", "192.0.2.1", "localhost/x"],
    )  # fmt: skip
    def test_names_that_are_not_ours(self, server: Server, host: str) -> None:
        for path in ("/", "/healthz", "/static/js/x.js", "/_stcore/health"):
            answer = server.ask(path, headers={"Host": host})
            assert answer.status in (400, 421)
            assert answer.header("set-cookie") is None
        assert server.handshake(Host=host) != 101

    def test_pages_of_other_sites_get_no_connection(self, server: Server) -> None:
        own = f"http://127.0.0.1:{server.port}"
        assert server.handshake(Origin=own) == 101
        assert server.handshake() == 101  # no browser
        others = ["http://evil.example", "null", f"{own}.evil.example", f"http://127.0.0.1:{server.port + 1}"]
        assert {server.handshake(Origin=origin) for origin in (*others, "http://localhost")} == {403}
        assert server.handshake(Origin=own, Sec_Fetch_Site="cross-site") == 403

    @pytest.mark.parametrize(
        "path",
        ["/_stcore/metrics", "/_stcore/agent/openapi.json", "/_stcore/agent/mcp", "/_stcore/agent/interact",
         "/_stcore/agent/", "/_stcore/%6detrics", "/x/_stcore/agent/mcp", "/_stcore/script-health-check"],
    )  # fmt: skip
    def test_closed_endpoints(self, server: Server, path: str) -> None:
        for method in ("GET", "POST", "OPTIONS"):
            assert server.ask(path, method=method).status == 404

    def test_streamlit_still_serves_its_own(self, server: Server) -> None:
        page = server.ask("/leaderboard")
        assert page.status == 200
        script = re.search(rb'src="\./(static/js/[^"]+)"', page.body)
        assert script
        assert server.ask(f"/{script[1].decode()}").header("content-type") == "application/javascript"
        assert server.ask("/_stcore/health").body == b"ok"


class TestHeaders:
    @pytest.mark.parametrize(
        "path", ["/", "/healthz", "/_stcore/health", "/arena/m/x/a", "/static/none", "/favicon.png"]
    )
    def test_every_answer_has_them(self, server: Server, path: str) -> None:
        answer = server.ask(path)
        policy = answer.header("content-security-policy") or ""
        assert "frame-ancestors 'none'" in policy
        assert "object-src 'none'" in policy
        scripts = next(part for part in policy.split(";") if "script-src" in part)
        assert "'unsafe-inline'" not in scripts
        assert "'unsafe-eval'" not in scripts
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("referrer-policy") == "no-referrer"
        assert "camera=()" in (answer.header("permissions-policy") or "")
        names = [name.lower() for name, _ in answer.headers]
        assert len(names) == len(set(names))

    def test_refusals_have_them_too(self, server: Server) -> None:
        answer = server.ask("/", headers={"Host": "evil.example"})
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("cache-control") == "no-store"


class TestSizes:
    def test_bodies_are_small(self, server: Server) -> None:
        assert server.ask("/", headers={"Content-Length": str(10**9)}).status == 413
        assert server.ask("/", headers={"Content-Length": "9" * 30}).status in (400, 413)

    def test_nothing_can_be_written(self, server: Server) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
            assert server.ask("/", method=method, body=b"x").status == 405

    def test_uploads_are_the_admins(self, server: Server) -> None:
        for method in ("PUT", "DELETE"):
            answer = server.ask("/_stcore/upload_file/session/file", method=method, body=b"x" * 1000)
            assert (answer.status, answer.body) == (403, b"only an admin may upload")
        crossed = {"Origin": "http://evil.example"}
        assert b"another site" in server.ask("/_stcore/upload_file/s/f", method="PUT", headers=crossed).body
        crossed = {"Sec-Fetch-Site": "cross-site"}
        assert b"another site" in server.ask("/_stcore/upload_file/s/f", method="PUT", headers=crossed).body


class TestVoters:
    def test_cookie_stays(self, server: Server, visitor: str) -> None:
        assert server.ask("/", cookie=visitor).header("set-cookie") is None
        assert identity.voter_of(visitor) != identity.voter_of(cookie_of(server.ask("/")))

    @pytest.mark.parametrize("place", [0, 20, 33, 64])
    def test_tampered_cookie_is_replaced(self, server: Server, visitor: str, place: int) -> None:
        other = "0" if visitor[place] != "0" else "1"
        tampered = visitor[:place] + other + visitor[place + 1 :]
        assert identity.voter_of(tampered) is None
        assert cookie_of(server.ask("/", cookie=tampered)) != tampered

    @pytest.mark.parametrize("cookie", ["", "x", "a.b", "0" * 32 + "." + "0" * 32, '"', "é", "x" * 5000])
    def test_made_up_cookie_is_replaced(self, server: Server, cookie: str) -> None:
        assert cookie_of(server.ask("/", cookie=cookie))

    def test_page_from_the_browsers_cache_sets_it_too(self, server: Server) -> None:
        etag = server.ask("/").header("etag")
        answer = server.ask("/", headers={"If-None-Match": etag or ""})
        assert answer.status == 304
        assert cookie_of(answer)

    def test_only_pages_set_it(self, server: Server) -> None:
        for path in ("/healthz", "/arena/m/x/a", "/_stcore/health", "/api/v1/leaderboard"):
            assert identity.COOKIE not in (server.ask(path).header("set-cookie") or "")

    def test_key_is_its_owners_alone(self, server: Server, visitor: str) -> None:
        path = server.folder / identity.KEY_FILE
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text() not in visitor


class TestMedia:
    @pytest.mark.parametrize("container", CONTAINERS)
    def test_pixels_and_nothing_else(self, server: Server, visitor: str, container: str) -> None:
        issued = issue(server, visitor, container)
        for side, sample in (("a", issued.sample_a), ("b", issued.sample_b)):
            answer = server.ask(f"/arena/m/{issued.token}/{side}", cookie=visitor)
            assert answer.status == 200
            assert answer.header("content-type") == "image/png"
            assert answer.header("cache-control") == "private, no-store"
            assert len(answer.body) % STEP == 0
            assert int(answer.header("content-length") or 0) == len(answer.body)
            assert chunks(answer.body)[0] == b"IHDR"
            assert set(chunks(answer.body)) == {b"IHDR", b"IDAT", b"IEND"}
            assert answer.body.endswith(b"IEND\xaeB`\x82")
            original = (server.folder / sample.path).read_bytes()
            with Image.open(io.BytesIO(answer.body)) as picture:
                assert picture.info == {}
                assert np.array_equal(np.asarray(picture), picture_of(original, sample.path))
            assert told(server, answer) == []

    def test_canaries_are_in_the_files(self, server: Server) -> None:
        """Or the test above would find none whatever is sent."""
        for container, (_, content) in CONTAINERS.items():
            if container not in ("png tIME", "png zTXt") and "icc" not in container.lower():
                assert CANARY.encode() in pictures_of(container, content)[0], container

    def test_only_its_voter_gets_it(self, server: Server, visitor: str) -> None:
        issued = issue(server, visitor)
        path = f"/arena/m/{issued.token}/a"
        assert server.ask(path, cookie=visitor).status == 200
        other = cookie_of(server.ask("/"))
        tampered = visitor[:-1] + ("0" if visitor[-1] != "0" else "1")
        answers = [server.ask(path, cookie=cookie) for cookie in (None, other, tampered, "")]
        answers += [
            server.ask(f"/arena/m/{token}/a", cookie=visitor) for token in ("x" * 43, issued.token[:-1], "%C3%A9")
        ]
        answers += [server.ask(f"/arena/m/{issued.token}/{side}", cookie=visitor) for side in ("c", "s", "A", "a/b")]
        answers += [server.ask(f"/arena/m/{issued.battle.id}/a", cookie=visitor)]
        assert {answer.status for answer in answers[:-2]} == {404}
        assert len({answer.body for answer in answers[:6]}) == 1  # nothing says which of these it was
        assert not any(answer.body.startswith(b"\x89PNG") for answer in answers)

    def test_a_vote_changes_nothing_and_a_day_ends_it(self, server: Server, visitor: str) -> None:
        issued, old = issue(server, visitor), issue(server, visitor)
        with Store(server.folder / "arena.db") as store:
            store.record_vote(issued.token, Winner.TIE, voter=identity.voter_of(visitor) or "", dwell_ms=1000)
        assert server.ask(f"/arena/m/{issued.token}/a", cookie=visitor).status == 200
        with sqlite3.connect(server.folder / "arena.db") as connection:
            connection.execute(
                "UPDATE battles SET issued_at = '2026-01-01T00:00:00.000Z' WHERE id = ?", (old.battle.id,)
            )
        connection.close()
        assert server.ask(f"/arena/m/{old.token}/a", cookie=visitor).status == 404

    def test_sides_are_alike(self, server: Server, visitor: str) -> None:
        issued = issue(server, visitor)
        a, b = (server.ask(f"/arena/m/{issued.token}/{side}", cookie=visitor) for side in "ab")
        varying = {"date", "content-length"}
        assert [h for h in a.headers if h[0] not in varying] == [h for h in b.headers if h[0] not in varying]
        assert a.body[16:24] == b.body[16:24]  # width and height

    @pytest.mark.parametrize("kind", SPOILT)
    def test_what_is_no_picture(self, server: Server, visitor: str, kind: str) -> None:
        content, status = SPOILT[kind]
        with Store(server.folder / "arena.db") as store:
            sound = png(np.full((30, 40, 3), 7, np.uint8))
            add(store, server.folder, Prompt(f"s-{kind}", f"spoilt {kind}"), [content, sound], ".png", (40, 30))
        issued = issue(server, visitor, f"spoilt {kind}")
        started = time.monotonic()
        for side in "ab":  # both, so that the sound one does not tell who the other is
            answer = server.ask(f"/arena/m/{issued.token}/{side}", cookie=visitor)
            assert answer.status == status
            assert told(server, answer) == []
        assert time.monotonic() - started < 5

    def test_source_of_an_editing_task(self, server: Server, visitor: str) -> None:
        inside = png(np.full((300, 400, 3), 9, np.uint8), text_chunks()["tEXt"])
        (server.folder / "source.png").write_bytes(inside)
        outside = server.folder.parent / "outside.png"
        outside.write_bytes(inside)
        sources = {"in": "source.png", "out": "../outside.png", "absolute": str(outside), "gone": f"{API_KEY}.png"}
        with Store(server.folder / "arena.db") as store:
            for name, source in sources.items():
                prompt = Prompt(f"e-{name}", f"edit {name}", source=source)
                add(store, server.folder, prompt, [inside, png(np.zeros((300, 400, 3), np.uint8))], ".png", (400, 300))
        answers = {}
        for name in sources:
            issued = issue(server, visitor, f"edit {name}")
            answers[name] = server.ask(f"/arena/m/{issued.token}/s", cookie=visitor)
        assert {name: answer.status for name, answer in answers.items()} == {
            "in": 200, "out": 500, "absolute": 500, "gone": 500,
        }  # fmt: skip
        assert CANARY.encode() not in answers["in"].body
        assert "[secret].png" in server.log.read_text()  # what would have been the key

    def test_too_many_pictures(self, server: Server, visitor: str) -> None:
        answers = [server.ask(f"/arena/m/{'x' * 43}/a", cookie=visitor) for _ in range(180)]
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) > 10
        assert all(int(answer.header("retry-after") or 0) >= 1 for answer in refused)
        assert all(answer.header("cache-control") == "private, no-store" for answer in refused)
        other = cookie_of(server.ask("/"))
        assert server.ask(f"/arena/m/{issue(server, other).token}/a", cookie=other).status == 200


class TestNumbers:
    def test_leaderboard_is_the_commands(self, server: Server, visitor: str) -> None:
        issued = issue(server, visitor)
        with Store(server.folder / "arena.db") as store:
            store.record_vote(issued.token, Winner.MODEL_A, voter=identity.voter_of(visitor) or "", dwell_ms=1000)
        answer = server.ask("/api/v1/leaderboard")
        command = [sys.executable, "-m", "paragone", "leaderboard", "--dir", str(server.folder), "--json", "-"]
        assert answer.body == subprocess.run(command, capture_output=True, check=True).stdout
        assert answer.header("content-type") == "application/json"
        again = server.ask("/api/v1/leaderboard", headers={"If-None-Match": answer.header("etag") or ""})
        assert (again.status, again.body) == (304, b"")
        assert json.loads(server.ask("/api/v1/leaderboard?method=elo").body)["parameters"]["method"] == "elo"

    @pytest.mark.parametrize("query", ["voters=nobody", "method=best", "voters=", "method="])
    def test_questions_that_have_no_answer(self, server: Server, query: str) -> None:
        answer = server.ask(f"/api/v1/leaderboard?{query}")
        assert answer.status == 400
        assert "is one of" in json.loads(answer.body)["error"]

    def test_forged_addresses_are_one_network(self, server: Server) -> None:
        forged = [dict.fromkeys(("X-Forwarded-For", "X-Real-IP"), f"198.51.{n}.7") for n in range(120)]
        answers = [server.ask("/api/v1/leaderboard?method=best", headers=headers) for headers in forged]
        assert {answer.status for answer in answers} == {400, 429}
        assert all(answer.header("retry-after") for answer in answers if answer.status == 429)


def test_secrets_are_not_in_the_log(server: Server, visitor: str) -> None:
    text = server.log.read_text()
    key = (server.folder / identity.KEY_FILE).read_text()
    for secret in (PASSWORD, API_KEY, key, visitor):
        assert secret not in text
    assert "Traceback" not in text


def test_entry_of_a_checkout(server: Server, tmp_path: Path) -> None:
    """`streamlit run streamlit_app.py` is the same server, with the same guard, on this machine only."""
    entry = Path(__file__).resolve().parents[2] / "streamlit_app.py"
    if not entry.is_file():
        pytest.skip("not a checkout")
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(entry), "--server.port", str(port)]
    environment = os.environ | {"PARAGONE_DIR": str(server.folder), "STREAMLIT_SERVER_HEADLESS": "true"}
    with start([*command], server.folder, tmp_path / "log", port, cwd=entry.parent, env=environment) as process:
        try:
            other = Server(port, server.folder, tmp_path / "log", process)
            assert other.ask("/healthz").body == b'{"status":"ok"}'
            assert other.ask("/").header("x-frame-options") == "DENY"
            assert other.ask("/_stcore/metrics").status == 404
            assert other.ask("/", headers={"Host": "evil.example"}).status == 421
            maps = Path(f"/proc/{process.pid}/maps")
            assert not maps.exists() or "libtorch" not in maps.read_text()
        finally:
            process.terminate()


def chunks(content: bytes) -> list[bytes]:
    kinds, at = [], 8
    while at < len(content):
        kinds.append(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return kinds


def told(server: Server, answer: Answer) -> list[str]:
    """What of models and files an answer gives away."""
    with Store(server.folder / "arena.db") as store:
        samples = store.samples()
    names = {value for s in samples for value in (s.model, s.id, s.sha256, s.path, Path(s.path).name)}
    text = answer.body + repr(answer.headers).encode()
    raw = {s.sha256: bytes.fromhex(s.sha256) for s in samples}
    found = [name for name in (*names, CANARY, str(server.folder), "samples/") if name.encode() in text]
    return found + [f"{name} (raw)" for name, content in raw.items() if content in text]
