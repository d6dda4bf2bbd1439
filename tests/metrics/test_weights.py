"""Weights: looked for where the messages say, fetched whole or not at all (from a server on this machine)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.metrics.weights import (
    INCEPTION,
    KNOWN_WEIGHTS,
    OPENAI_CLIP,
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


def left() -> set[str]:
    """What lies in the folder of weights, locks aside."""
    return {file.name for file in weights_folder().iterdir() if not file.name.endswith(".lock")}


def test_fetched_weights_are_found_verified_and_not_fetched_again(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    with serving(sends(CONTENT)) as url:
        path = fetch_weights(TINY, url=url, progress=lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[-1] == ("fetch tiny", len(CONTENT), len(CONTENT))
    assert left() == {"tiny.pth"}
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
        (sends(CONTENT * 3), "expected 1,280,000 bytes"),
        (sends(b"no such thing", status=404), "download failed .*404"),
    ],
)
def test_anything_else_is_refused_and_leaves_nothing(
    answer: Callable[[BaseHTTPRequestHandler], None], message: str
) -> None:
    with serving(answer) as url, pytest.raises(InputError, match=message):
        fetch_weights(TINY, url=url)
    assert left() == set()


# ---- Going on after a cut connection ---------------------------------------------------------------------------------


class RangeServer:
    """Serves `body`, at first only `cut` bytes of it, then honours ranges (or does not); remembers what was asked."""

    def __init__(self, body: bytes, *, cut: int, ranges: bool = True) -> None:
        self.body, self.cut, self.ranges = body, cut, ranges
        self.asked: list[str | None] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        first = not self.asked
        self.asked.append(wanted)
        if start >= len(self.body):
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        request.send_header("Content-Length", str(len(self.body) - start))
        request.end_headers()
        request.wfile.write(self.body[start : self.cut if first else None])


@pytest.mark.parametrize("known", [TINY, replace(TINY, size_bytes=None)], ids=["size known", "size unknown"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_goes_on_where_it_stopped(known: KnownWeights, ranges: bool) -> None:
    server = RangeServer(CONTENT, cut=300_000, ranges=ranges)
    with serving(server) as url:
        with pytest.raises(InputError, match=r"cut after 300,000 of 1,280,000 bytes; they are kept, and the same"):
            fetch_weights(known, url=url)
        assert left() == {".tiny.pth.part"}
        with pytest.raises(MissingWeights):
            find_weights(known)
        done: list[int] = []
        path = fetch_weights(known, url=url, progress=lambda _task, so_far, _total: done.append(so_far))
    assert server.asked == [None, "bytes=300000-"]
    assert path.read_bytes() == CONTENT
    assert left() == {"tiny.pth"}
    assert len(done) == (1 if ranges else 2)  # in steps of 1 MiB


def test_a_part_of_something_else_is_not_completed_into_nonsense() -> None:
    weights_folder().mkdir(parents=True)
    (weights_folder() / ".tiny.pth.part").write_bytes(b"x" * 1000)
    with serving(RangeServer(CONTENT, cut=len(CONTENT))) as url:
        with pytest.raises(InputError, match="nothing was kept"):
            fetch_weights(TINY, url=url)
        assert left() == set()
        assert fetch_weights(TINY, url=url).read_bytes() == CONTENT


def test_a_shorter_file_is_refused_the_second_time_at_the_latest() -> None:
    with serving(RangeServer(CONTENT[:-1], cut=len(CONTENT))) as url:
        with pytest.raises(InputError, match="cut after 1,279,999 of 1,280,000"):
            fetch_weights(TINY, url=url)
        with pytest.raises(InputError, match=r"sent 1,279,999 bytes .* nothing was kept"):
            fetch_weights(TINY, url=url)
    assert left() == set()


def test_two_fetches_at_once_take_turns() -> None:
    server = RangeServer(CONTENT, cut=len(CONTENT))
    with serving(server) as url, ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _number: fetch_weights(TINY, url=url), range(3)))
    assert len(server.asked) == 1
    assert set(paths) == {weights_folder() / "tiny.pth"}


def test_a_file_without_a_known_size_is_judged_by_its_digest() -> None:
    unsized = replace(TINY, size_bytes=None)
    with serving(sends(CONTENT + b"x")) as url, pytest.raises(InputError, match="expected size not recorded with"):
        fetch_weights(unsized, url=url)
    assert left() == set()


def test_the_table() -> None:
    assert len({known.name for known in KNOWN_WEIGHTS}) == len({known.file_name for known in KNOWN_WEIGHTS})
    for known in KNOWN_WEIGHTS:
        assert len(bytes.fromhex(known.sha256)) == 32
        assert known.url.startswith("https://")
        assert known.url.endswith("/" + known.file_name)
    assert all(known.sha256 in known.url for known in OPENAI_CLIP.values())


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
