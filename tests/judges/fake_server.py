"""A small OpenAI-compatible chat server on the loopback interface that answers, or misbehaves, as it is told.

A behaviour is a function of the request that gives the reply; `then` queues behaviours for the next requests, and
`behaviour` answers the rest. Run as a program it serves until it is killed: a rehearsal of `paragone judge`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import math
import random
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FULL_SCALE = 255.0
GRADES = ("very poor", "poor", "fair", "good", "excellent")


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @cached_property
    def body(self) -> dict[str, Any]:
        """The request's JSON."""
        document: dict[str, Any] = json.loads(self.raw)
        return document

    @property
    def parts(self) -> list[dict[str, Any]]:
        """All content parts of all messages, in order."""
        found: list[dict[str, Any]] = []
        for message in self.body["messages"]:
            content = message["content"]
            found += [{"type": "text", "text": content}] if isinstance(content, str) else content
        return found

    @property
    def text(self) -> str:
        """Every text part, joined by newlines."""
        return "\n".join(part["text"] for part in self.parts if part["type"] == "text")

    @property
    def videos(self) -> list[bytes]:
        """The decoded files of the video parts, in order."""
        urls = [part["video_url"]["url"] for part in self.parts if part["type"] == "video_url"]
        return [base64.b64decode(url.partition(",")[2]) for url in urls]

    @property
    def images(self) -> list[bytes]:
        """The decoded files of the image parts, in order."""
        urls = [part["image_url"]["url"] for part in self.parts if part["type"] == "image_url"]
        return [base64.b64decode(url.partition(",")[2]) for url in urls]


@dataclass(frozen=True)
class FakeReply:
    """What goes over the wire; `cut_at` closes the connection after that many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0  # pause before each byte of the body
    cut_at: int | None = None


Behaviour = Callable[[Received], FakeReply]


class FakeServer:
    """Serves `behaviour` on a free port of 127.0.0.1 as long as the `with` block runs."""

    def __init__(self, behaviour: Behaviour | None = None, *, latency_s: float = 0.0, port: int = 0) -> None:
        self.behaviour = behaviour or prefers(brightness)
        self.latency_s = latency_s
        self.requests: list[Received] = []
        self.peak = 0
        self._queue: deque[Behaviour] = deque()
        self._open = 0
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def base_url(self) -> str:
        """What a client is given as its base URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def n_calls(self) -> int:
        """How many requests have arrived."""
        return len(self.requests)

    def then(self, *behaviours: Behaviour) -> FakeServer:
        """Answer the next requests with these, one each; then go on with `behaviour`."""
        with self._lock:
            self._queue.extend(behaviours)
        return self

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, received: Received) -> FakeReply:
        """The reply to one request, which is counted from here until `done`."""
        with self._lock:
            self.requests.append(received)
            self._open += 1
            self.peak = max(self.peak, self._open)
            behaviour = self._queue.popleft() if self._queue else self.behaviour
        return behaviour(received)

    def done(self) -> None:
        """One request fewer is being answered."""
        with self._lock:
            self._open -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away is what the tests are about."""


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.path.endswith("/chat/completions"):
                self._send(_error(404, "no such route"))
                return
            try:
                reply = server.answer(Received(self.path, dict(self.headers.items()), raw))
            except Exception as error:  # the client should hear of it instead of waiting for nothing
                reply = _error(500, f"the test server's behaviour failed: {error!r}")
            try:
                time.sleep(server.latency_s + reply.delay_s)
                self._send(reply)
            finally:
                server.done()

        def _send(self, reply: FakeReply) -> None:
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            body = reply.body if reply.cut_at is None else reply.body[: reply.cut_at]
            if reply.drip_s:
                for start in range(len(body)):
                    self.wfile.write(body[start : start + 1])
                    self.wfile.flush()
                    time.sleep(reply.drip_s)
            else:
                self.wfile.write(body)
            self.wfile.flush()
            if reply.cut_at is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Silence."""

    return Handler


# ---- what it can say ----


def completion(
    text: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    logprobs: Sequence[dict[str, Any]] | None = None,
    usage: tuple[int, int] | None = (1000, 50),
    model: str = "fake-vlm-2026-01",
) -> FakeReply:
    """A well-formed chat completion."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish_reason}
    choice["logprobs"] = {"content": list(logprobs)} if logprobs is not None else None
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice]}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return FakeReply(body=json.dumps(body).encode())


def says(
    text: str | None,
    *,
    finish_reason: str = "stop",
    logprobs: Sequence[dict[str, Any]] | None = None,
    usage: tuple[int, int] | None = (1000, 50),
) -> Behaviour:
    """The same text to every request."""
    return lambda _: completion(text, finish_reason=finish_reason, logprobs=logprobs, usage=usage)


def verdict_text(overall: str, *, confidence: str = "high") -> str:
    """A whole pairwise answer, as the schema asks for it."""
    answer = {
        "seen_text": [],
        "injection_suspected": False,
        "observations": {"first": "a picture", "second": "another"},
        "criteria": [{"id": "prompt_alignment", "winner": "tie", "margin": "slight"}],
        "overall": overall,
        "confidence": confidence,
    }
    return json.dumps(answer)


def grade_text(overall: str) -> str:
    """A whole pointwise answer."""
    answer = {"seen_text": [], "injection_suspected": False, "observations": "a picture", "criteria": []}
    return json.dumps(answer | {"overall": overall})


def verdict(overall: str, *, soft: dict[str, float] | None = None) -> Behaviour:
    """Always this outcome (`first`, `second`, `tie`, `both_bad`); `soft` gives its probabilities by label.

    A request for log-probabilities is answered with one token for each character but the label, which is one token.
    """

    def answer(received: Received) -> FakeReply:
        text = verdict_text(overall)
        wanted = soft is not None and received.body.get("logprobs")
        return completion(text, logprobs=token_logprobs(text, overall, soft) if wanted and soft is not None else None)

    return answer


def token_logprobs(text: str, value: str, probabilities: dict[str, float]) -> list[dict[str, Any]]:
    """`logprobs.content` for `text`: the last occurrence of `value` is one token with these alternatives."""
    start = text.rindex(f'"{value}"') + 1 if f'"{value}"' in text else text.rindex(value)
    tokens = [*text[:start], value, *text[start + len(value) :]]
    return [_token(token, probabilities if place == start else {token: 1.0}) for place, token in enumerate(tokens)]


def _token(token: str, probabilities: dict[str, float]) -> dict[str, Any]:
    alternatives = [
        {"token": label, "logprob": math.log(p), "bytes": list(label.encode())}
        for label, p in sorted(probabilities.items(), key=lambda item: -item[1])
        if p > 0
    ]
    own = probabilities.get(token, 0.0)
    return {
        "token": token,
        "logprob": math.log(own) if own > 0 else -100.0,
        "bytes": list(token.encode()),
        "top_logprobs": alternatives,
    }


def brightness(image: bytes) -> float:
    """Mean grey value of a picture file, 0..1."""
    from PIL import Image, ImageStat

    with Image.open(io.BytesIO(image)) as picture:
        return float(ImageStat.Stat(picture.convert("L")).mean[0]) / FULL_SCALE


def prefers(score: Callable[[bytes], float], *, margin: float = 0.0) -> Behaviour:
    """An honest judge of any protocol: the picture with the higher score (0..1) wins, whichever comes first."""

    def answer(received: Received) -> FakeReply:
        if '"yes" or "no"' in received.text:
            return completion("yes" if score(received.images[-1]) > 0.5 else "no")
        if '"grade"' in received.text:
            return completion(grade_text(GRADES[min(4, int(5 * score(received.images[-1])))]))
        first, second = (score(image) for image in received.images[-2:])
        if abs(first - second) <= margin:
            return completion(verdict_text("tie"))
        return completion(verdict_text("first" if first > second else "second"))

    return answer


def always_first() -> Behaviour:
    """A judge that looks at nothing."""
    return verdict("first")


def inconsistent(seed: int = 0) -> Behaviour:
    """A judge that draws its outcome anew for each request, whatever it is."""
    generator, lock = random.Random(seed), threading.Lock()

    def answer(_: Received) -> FakeReply:
        with lock:
            return completion(verdict_text(generator.choice(["first", "second", "tie"])))

    return answer


def obeys_pictures(score: Callable[[bytes], bool]) -> Behaviour:
    """Gives the win to whichever picture `score` finds an instruction in; otherwise a tie."""

    def answer(received: Received) -> FakeReply:
        first, second = (score(image) for image in received.images[-2:])
        return completion(verdict_text("tie" if first == second else "first" if first else "second"))

    return answer


def refuses(text: str = "I'm sorry, but I can't assist with that request.") -> Behaviour:
    """A refusal in the field that is made for it."""
    return lambda _: completion(None, refusal=text)


def filtered() -> Behaviour:
    """Cut off by the provider's filter."""
    return lambda _: completion("", finish_reason="content_filter")


def _error(status: int, message: str, *, code: str | None = None, parameter: str | None = None) -> FakeReply:
    error = {"message": message, "type": "fake", "param": parameter, "code": code}
    return FakeReply(status=status, body=json.dumps({"error": error}).encode())


def fails(
    status: int, *, retry_after: str | float | None = None, code: str | None = None, message: str = "no luck"
) -> Behaviour:
    """An HTTP error, with a Retry-After header when one is given."""
    reply = _error(status, message, code=code)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return lambda _: FakeReply(reply.status, reply.body, headers)


def rejects(parameter: str, otherwise: Behaviour, *, value: object = None) -> Behaviour:
    """400 that names the parameter for a request that has it (or has this value or type of it), else `otherwise`."""

    def answer(received: Received) -> FakeReply:
        given = received.body.get(parameter)
        kind = given.get("type") if isinstance(given, dict) else given
        if given is None or (value is not None and kind != value):
            return otherwise(received)
        return _error(400, f"Unsupported parameter: {parameter!r} is not supported here", parameter=parameter)

    return answer


def takes(
    otherwise: Behaviour, *, images: int | None = None, n_bytes: int | None = None, video: bool = True
) -> Behaviour:
    """`otherwise`, but 400 in vLLM's words for more images, 413 for a larger body, 400 for a clip."""

    def answer(received: Received) -> FakeReply:
        if n_bytes is not None and len(received.raw) > n_bytes:
            return _error(413, "Request Entity Too Large")
        if not video and received.videos:
            return _error(400, "Invalid content type: video_url is not supported by this model")
        if images is not None and len(received.images) > images:
            return _error(400, f"At most {images} image(s) may be provided in one prompt.")
        return otherwise(received)

    return answer


def raw(body: bytes, *, status: int = 200, content_type: str = "application/json") -> Behaviour:
    """These bytes."""
    return lambda _: FakeReply(status, body, {"Content-Type": content_type})


def html() -> Behaviour:
    """A proxy's page with status 200."""
    return raw(b"<html><body>Bad gateway</body></html>", content_type="text/html")


def huge(n_bytes: int) -> Behaviour:
    """A completion of at least that many bytes."""
    return lambda _: completion("x" * n_bytes)


def cuts(at: int = 20) -> Behaviour:
    """A connection that is closed in the middle of the body."""
    return lambda _: FakeReply(body=completion(verdict_text("first")).body, cut_at=at)


def slow(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """The answer of `then`, late."""

    def answer(received: Received) -> FakeReply:
        reply = (then or verdict("first"))(received)
        return FakeReply(reply.status, reply.body, reply.headers, delay_s=seconds)

    return answer


def drips(seconds: float) -> Behaviour:
    """One byte at a time."""
    return lambda _: FakeReply(body=completion(verdict_text("first")).body, drip_s=seconds)


def says_yes(probability: float) -> Behaviour:
    """Answers a yes-or-no question with that probability of yes."""

    def answer(received: Received) -> FakeReply:
        text = "yes" if probability >= 0.5 else "no"
        probabilities = {"yes": probability, "no": 1 - probability}
        wanted = received.body.get("logprobs")
        return completion(text, logprobs=[_token(text, probabilities)] if wanted else None)

    return answer


def image_digests(received: Received) -> list[str]:
    """sha256 of each picture as it was sent."""
    return [hashlib.sha256(image).hexdigest() for image in received.images]


def prompt_in(received: Received) -> str:
    """The prompt between the request's own markers."""
    found = re.search(r"<<<PROMPT ([0-9a-f]+)>>>\n(.*?)\n<<<END \1>>>", received.text, re.DOTALL)
    assert found, received.text
    return found.group(2)


def main() -> None:
    """Serve until killed; the first line on stdout is the base URL."""
    named = {"prefers": prefers(brightness), "first": always_first(), "inconsistent": inconsistent()}
    named |= {"refuses": refuses(), "verdict": verdict("second")}
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--behaviour", choices=sorted(named), default="prefers")
    options = parser.parse_args()
    with FakeServer(named[options.behaviour], latency_s=options.latency, port=options.port) as server:
        print(server.base_url, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
