"""A server on the loopback interface that speaks the routes of image and video services, or misbehaves as it is told.

`then` queues behaviours for the next requests that make something (POST of an order), `on` answers a path for good.
What it makes is real: a PNG whose colour is a function of the prompt and the seed, or a clip of such pictures.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import io
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

from paragone.data.generators.media import encode_clip


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The request's JSON, or the fields of its form (files as bytes)."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/"):
            return dict(json.loads(self.raw or b"{}"))
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        message = parser.parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + self.raw)
        fields: dict[str, Any] = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            fields[str(name)] = content if part.get_filename() else content.decode()
        return fields


@dataclass(frozen=True)
class Answer:
    """What goes over the wire; `cut_at` closes the connection after that many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0
    cut_at: int | None = None


Behaviour = Callable[[Received], Answer]


class MediaServer:
    """Serves on a free port of 127.0.0.1 as long as the `with` block runs."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.files: dict[str, bytes] = {}  # what /files/NAME gives
        self.jobs: dict[str, dict[str, Any]] = {}
        self.peak = 0
        self.pending_looks = 1  # how often a job is found unfinished
        self._paths: dict[str, Behaviour] = {}
        self._queue: deque[Behaviour] = deque()
        self._open = 0
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The address of its root."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def orders(self) -> list[Received]:
        """The requests that asked for something to be made."""
        return [received for received in self.requests if received.method == "POST"]

    def then(self, *behaviours: Behaviour) -> MediaServer:
        """Answer the next orders with these, one each; then as it should be."""
        self._queue.extend(behaviours)
        return self

    def on(self, path: str, behaviour: Behaviour) -> None:
        """Answer this path with this behaviour from now on."""
        self._paths[path] = behaviour

    def __enter__(self) -> MediaServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, received: Received) -> Answer:
        """The answer to one request."""
        with self._lock:
            self.requests.append(received)
            self._open += 1
            self.peak = max(self.peak, self._open)
            queued = self._queue.popleft() if received.method == "POST" and self._queue else None
        return (queued or self._paths.get(received.path) or self.well_behaved)(received)

    def done(self) -> None:
        """One request fewer is being answered."""
        with self._lock:
            self._open -= 1

    def well_behaved(self, received: Received) -> Answer:
        """What a good server answers, by the path."""
        route = (received.method, "/" + received.path.strip("/").split("/")[0])
        if received.path.startswith("/v1/images/"):
            return image_reply(received)
        if received.path.startswith("/v1/videos"):
            return self._video(received)
        if received.path.startswith("/queue-api/"):
            return self._job(received)
        if received.path.startswith("/files/"):
            content = self.files.get(received.path.removeprefix("/files/"))
            return Answer(404, b"gone") if content is None else Answer(200, content, {"Content-Type": "image/png"})
        comfy: dict[tuple[str, str], Behaviour] = {
            ("POST", "/prompt"): self._comfy_prompt,
            ("POST", "/upload"): self._comfy_upload,
            ("GET", "/history"): self._comfy_history,
            ("GET", "/queue"): lambda _: as_json({"queue_running": [], "queue_pending": []}),
            ("GET", "/view"): lambda found: Answer(200, self.files[found.query["filename"][0]]),
        }
        return comfy.get(route, lambda _: error(404, "no such route"))(received)

    def _video(self, received: Received) -> Answer:
        if received.method == "POST":
            job = f"video_{len(self.jobs)}"
            self.jobs[job] = {"prompt": received.body["prompt"], "looks": 0}
            return as_json({"id": job, "status": "queued"})
        _, _, _, job, *rest = received.path.split("/")
        if job not in self.jobs:
            return error(404, "no such video")
        if rest == ["content"]:
            return Answer(200, clip_file(self.jobs[job]["prompt"]), {"Content-Type": "video/mp4"})
        self.jobs[job]["looks"] += 1
        status = "completed" if self.jobs[job]["looks"] > self.pending_looks else "in_progress"
        return as_json({"id": job, "status": status, "model": "fake-video-1"})

    def _job(self, received: Received) -> Answer:
        if received.method == "POST":
            job = f"job-{len(self.jobs)}"
            self.jobs[job] = {"body": received.body, "looks": 0}
            return as_json({"request_id": job})
        job = received.path.split("/")[2]
        if job not in self.jobs:
            return error(404, "no such job")
        found = self.jobs[job]
        if received.path.endswith("/status"):
            found["looks"] += 1
            return as_json({"status": "COMPLETED" if found["looks"] > self.pending_looks else "IN_QUEUE"})
        self.files[f"{job}.png"] = png(found["body"]["prompt"], found["body"].get("seed"))
        return as_json({"images": [{"url": f"{self.url}/files/{job}.png"}], "cost": 0.0125, "model": "fake-flux"})

    def _comfy_prompt(self, received: Received) -> Answer:
        graph = received.body["prompt"]
        job = f"comfy-{len(self.jobs)}"
        self.jobs[job] = {"graph": graph, "looks": 0}
        return as_json({"prompt_id": job, "number": 1, "node_errors": {}})

    def _comfy_upload(self, received: Received) -> Answer:
        content = received.body["image"]
        name = hashlib.sha256(content).hexdigest()[:8] + ".png"
        self.files[name] = content
        return as_json({"name": name, "subfolder": "in", "type": "input"})

    def _comfy_history(self, received: Received) -> Answer:
        job = received.path.split("/")[-1]
        if job not in self.jobs:
            return as_json({})
        graph = self.jobs[job]["graph"]
        name = f"{graph['9']['inputs']['filename_prefix']}_00001_.png"
        self.files[name] = png(graph["6"]["inputs"]["text"], graph["3"]["inputs"]["seed"])
        output = {"images": [{"filename": name, "subfolder": "", "type": "output"}]}
        status = {"status_str": "success", "completed": True, "messages": []}
        return as_json({job: {"outputs": {"9": output}, "status": status}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away is what the tests are about."""


def _handler(server: MediaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            self._serve(b"")

        def _serve(self, raw: bytes) -> None:
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.command, address.path, parse_qs(address.query), headers, raw)
            try:
                answer = server.answer(received)
            except Exception as failed:  # the client should hear of it instead of waiting for nothing
                answer = error(500, f"the test server's behaviour failed: {failed!r}")
            try:
                time.sleep(answer.delay_s)
                self._send(answer)
            finally:
                server.done()

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            body = answer.body if answer.cut_at is None else answer.body[: answer.cut_at]
            step = 1 if answer.drip_s else max(1, len(body))
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                self.wfile.flush()
                time.sleep(answer.drip_s)
            if answer.cut_at is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Silence."""

    return Handler


# ---- what it can say ----


def as_json(document: object, status: int = 200) -> Answer:
    """A JSON document."""
    return Answer(status, json.dumps(document).encode())


def error(status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": "fake", "code": code}}
    return Answer(status, json.dumps(body).encode(), headers or {})


def fails(
    status: int, message: str = "no luck", *, code: str | None = None, retry_after: str | None = None
) -> Behaviour:
    """An HTTP error, with a Retry-After header when one is given."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda _: error(status, message, code=code, headers=headers)


def says(document: object) -> Behaviour:
    """One document, whatever is asked."""
    return lambda _: as_json(document)


def pixels(prompt: str, seed: object, size: int = 16) -> np.ndarray:
    """[size, size, 3]: one colour, by the prompt and the seed."""
    colour = np.frombuffer(hashlib.sha256(f"{prompt}|{seed}".encode()).digest()[:3], np.uint8)
    return np.broadcast_to(colour, (size, size, 3)).copy()


def png(prompt: str, seed: object, size: int = 16) -> bytes:
    """Such a picture as a file, with metadata that a service might add."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(prompt, seed, size)).save(buffer, format="PNG")
    return buffer.getvalue()


def clip_file(prompt: str) -> bytes:
    """Five frames of changing colour at 8 frames a second."""
    return encode_clip(np.stack([pixels(prompt, n) for n in range(5)]), 8.0)


def image_reply(received: Received, **changes: Any) -> Answer:
    """A picture as base64, or as OpenAI's older models want to be asked for it."""
    body = received.body
    encoded = base64.b64encode(png(str(body["prompt"]), body.get("seed"))).decode()
    reply: dict[str, Any] = {
        "created": 1,
        "model": "fake-image-1",
        "usage": {"total_tokens": 7},
        "data": [{"b64_json": encoded, "revised_prompt": f"{body['prompt']}, in oil"} | changes],
    }
    return as_json(reply)
