"""Weights: looked for where the messages say, fetched whole or not at all (from a server on this machine)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.metrics.weights import (
    INCEPTION,
    KNOWN_WEIGHTS,
    KnownWeights,
    fetch_weights,
    find_weights,
    known_weights,
    paragone_home,
    weights_folder,
)

CONTENT = bytes(range(256)) * 5000
TINY = KnownWeights(
    "tiny", "tiny.pth", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "http://unused", "inception", "test"
)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None], *args: object) -> None:
        self.answer = answer
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, answer)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/tiny.pth"
        server.shutdown()
        thread.join()


def sends(body: bytes, *, claims: int | None = None, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if claims is None else claims))
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_fetched_weights_are_found_verified_and_not_fetched_again(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    with serving(sends(CONTENT)) as url:
        path = fetch_weights(TINY, url=url, progress=lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[-1] == ("fetch tiny", len(CONTENT), len(CONTENT))
    assert [file.name for file in weights_folder().iterdir()] == ["tiny.pth"]
    found = find_weights(TINY)
    assert (found.path, found.sha256, found.known) == (path, TINY.sha256, True)
    assert fetch_weights(TINY, url="http://127.0.0.1:9/gone") == path


def test_a_damaged_file_in_the_cache_is_refused_and_replaced_by_fetch() -> None:
    weights_folder().mkdir(parents=True)
    (weights_folder() / "tiny.pth").write_bytes(b"half")
    with pytest.raises(InputError, match=r"tiny\.pth: its sha256 is .*delete it"):
        find_weights(TINY)
    with serving(sends(CONTENT)) as url:
        fetch_weights(TINY, url=url)
    assert find_weights(TINY).known


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sends(CONTENT[:-1] + b"x"), "expected 1,280,000 bytes with"),
        (sends(CONTENT[:-1]), "sent 1,279,999 bytes"),
        (sends(CONTENT[:1000], claims=len(CONTENT)), "sent 1,000 bytes|download failed"),
        (sends(CONTENT * 3), "expected 1,280,000 bytes"),
        (sends(b"no such thing", status=404), "download failed .*404"),
    ],
)
def test_anything_else_is_refused_and_leaves_nothing(
    answer: Callable[[BaseHTTPRequestHandler], None], message: str
) -> None:
    with serving(answer) as url, pytest.raises(InputError, match=message):
        fetch_weights(TINY, url=url)
    assert list(weights_folder().iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "http://127.0.0.1:9/refused", "nonsense"])
def test_addresses_that_do_not_work(url: str) -> None:
    with pytest.raises(InputError, match="download failed"):
        fetch_weights(TINY, url=url)


def test_only_a_named_file_may_have_another_digest(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    found = find_weights(TINY, other)
    assert (found.path, found.known) == (other, False)
    assert found.sha256 == hashlib.sha256(b"other").hexdigest()
    with pytest.raises(MissingWeights, match=r"no such file: .*nowhere"):
        find_weights(TINY, tmp_path / "nowhere")


def test_missing_weights_say_what_where_and_what_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAGONE_HOME", str(tmp_path))
    with pytest.raises(MissingWeights) as caught:
        find_weights(INCEPTION)
    for part in (
        INCEPTION.file_name,
        "95,628,359 bytes",
        INCEPTION.sha256,
        str(tmp_path / "weights"),
        "--weights FILE",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_home_is_the_environments_or_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAGONE_HOME", "/somewhere")
    assert paragone_home() == Path("/somewhere")
    monkeypatch.delenv("PARAGONE_HOME")
    assert paragone_home() == Path.home() / ".cache" / "paragone"


def test_rows_are_unique_and_whole() -> None:
    assert len({known.name for known in KNOWN_WEIGHTS}) == len(KNOWN_WEIGHTS)
    for known in KNOWN_WEIGHTS:
        assert known_weights(known.name) is known
        assert len(known.sha256) == 64
        assert known.url.startswith("https://")
        assert known.url.endswith(known.file_name)
    with pytest.raises(UsageError, match="known: inception-2015-12-05"):
        known_weights("dino")
