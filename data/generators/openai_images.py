"""The images routes of OpenAI, which vLLM-Omni, SGLang, LocalAI, Together and others speak as well.

    POST {base_url}/images/generations     JSON: model, prompt, n, size
    POST {base_url}/images/edits           multipart: the same, with image and mask

Servers differ in what they mind: `response_format` is asked for unless the model is known to answer in base64 anyway,
a `seed` is sent, and either is left out from then on when an error names it. The picture comes as base64 (with or
without `data:`) or as an address that expires, and is fetched at once. A refusal and a filter's work are statuses, not
errors. An edit's mask marks what may change in white; these routes want it transparent there.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.downloads import fetch_output, from_base64
from paragone.data.generators.http_service import MAX_BYTES, Patience, Reply, RequestFailed, Service, refusal_status
from paragone.data.generators.jobs import request_key
from paragone.data.generators.media import delivered
from paragone.data.records import Status, Task

BASE64_MODELS = re.compile(r"gpt-image|chatgpt-image", re.IGNORECASE)  # they always do, and mind being asked
NEGOTIABLE = ("response_format", "seed")
MOST_AT_ONCE = 64


@dataclass
class OpenAIImages:
    """Asks a server for one picture a request."""

    name: str
    task: Task
    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str | None = None
    size: str | None = None  # such as 1024x1024
    body: Mapping[str, Any] = field(default_factory=dict)  # quality, num_inference_steps … as the server knows them
    timeout_s: float = 300.0
    max_attempts: int = 5
    remote: bool = field(default=True, init=False)
    at_once: int = field(default=MOST_AT_ONCE, init=False)
    incidental: tuple[str, ...] = field(default=("api_key_env", "timeout_s", "max_attempts"), init=False)

    def __post_init__(self) -> None:
        if self.task not in (Task.TEXT_TO_IMAGE, Task.IMAGE_EDITING):
            raise UsageError(f"{self.name}: openai-images cannot do {self.task}; see openai-videos")
        self._service = Service(
            self.base_url, self.api_key_env, patience=Patience(attempt_s=self.timeout_s, max_attempts=self.max_attempts)
        )
        self._left_out: set[str] = {"response_format"} if BASE64_MODELS.search(self.model) else set()
        self._lock = threading.Lock()

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One call of the server for each request."""
        return (self._answer(request) for request in requests)

    def _answer(self, request: GenerationRequest) -> Generation:
        try:
            return self._generation(request, self._negotiated(request).object())
        except RequestFailed as error:
            return Generation(request, status=error.status, message=str(error))
        except InputError as error:
            return Generation(request, status=Status.ERROR, message=str(error))

    def _negotiated(self, request: GenerationRequest) -> Reply:
        """The reply, asked for with as much as the server takes."""
        while True:
            fields = self._fields(request)
            try:
                return self._send(request, fields)
            except RequestFailed as error:
                minded = [
                    name for name in NEGOTIABLE if name in fields and name not in self.body and _minds(error, name)
                ]
                if error.code not in (400, 422) or not minded:
                    raise
                with self._lock:
                    self._left_out.update(minded)

    def _fields(self, request: GenerationRequest) -> dict[str, Any]:
        ours: dict[str, Any] = {"model": self.model, "prompt": request.prompt.text, "n": 1}
        if self.size is not None:
            ours["size"] = self.size
        ours |= {"response_format": "b64_json", "seed": request.seed}
        kept = {name: value for name, value in ours.items() if name not in self._left_out}
        return {**kept, **self.body}

    def _send(self, request: GenerationRequest, fields: Mapping[str, Any]) -> Reply:
        once = request_key(request, dict(fields))
        if self.task is not Task.IMAGE_EDITING:
            return self._service.post("/images/generations", fields, once=once)
        if request.source is None:
            raise RequestFailed("the prompt has no source picture to edit")
        files = [("image", (request.source.name, request.source.read_bytes(), _mime(request.source.read_bytes())))]
        if request.mask is not None:
            with Image.open(request.mask) as mask:
                files.append(("mask", ("mask.png", transparent_where_white(mask), "image/png")))
        words = {name: str(value) for name, value in fields.items()}
        return self._service.send("POST", "/images/edits", once=once, data=words, files=files)

    def _generation(self, request: GenerationRequest, document: Mapping[str, Any]) -> Generation:
        data = document.get("data")
        first = data[0] if isinstance(data, list) and data and isinstance(data[0], Mapping) else {}
        encoded, url = first.get("b64_json"), first.get("url")
        facts: dict[str, Any] = {
            "revised_prompt": first.get("revised_prompt") or None,
            "model_served": document["model"] if isinstance(document.get("model"), str) else None,
            "details": {"usage": document["usage"]} if document.get("usage") else {},
        }
        if isinstance(encoded, str) and encoded:
            content = from_base64(encoded)
        elif isinstance(url, str) and url:
            content = fetch_output(url, self._service, limit=MAX_BYTES)
        else:
            words = _words_of(first) or _words_of(document) or "no picture in the reply: 0 of 1 came back"
            return Generation(request, status=refusal_status(words) or Status.ERROR, message=words, **facts)
        name = f"prompt {request.prompt.id!r}, seed {request.seed}"
        return Generation(request, file=delivered(content, name), **facts)


def transparent_where_white(mask: Image.Image) -> bytes:
    """A PNG that is transparent where `mask` is white, and opaque where it is black."""
    grey = mask.convert("L")
    result = Image.new("RGBA", grey.size, (0, 0, 0, 255))
    result.putalpha(grey.point(lambda value: 255 - value))
    buffer = io.BytesIO()
    result.save(buffer, format="PNG")
    return buffer.getvalue()


def _minds(error: RequestFailed, name: str) -> bool:
    return re.search(rf"\b{name}\b", error.body, re.IGNORECASE) is not None


def _words_of(part: Any) -> str:
    """What a reply without a picture says, where it says something."""
    if not isinstance(part, Mapping):
        return ""
    for name in ("refusal", "error", "message", "finish_reason", "detail"):
        found = part.get(name)
        if isinstance(found, Mapping):
            found = found.get("message")
        if isinstance(found, str) and found:
            return " ".join(found.split())[:300]
    return ""


def _mime(content: bytes) -> str:
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if content[8:12] == b"WEBP" else "image/png"
