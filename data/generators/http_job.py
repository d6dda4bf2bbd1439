"""Services of many kinds that a few lines of TOML describe: order, wait, find the output, fetch it.

    [generators.flux-dev]
    adapter = "http-job"
    [generators.flux-dev.settings]
    base_url = "https://queue.example.com"
    api_key_env = "EXAMPLE_KEY"
    auth_prefix = "Key "
    submit = { path = "/flux/dev", body = { prompt = "{prompt}", seed = "{seed}" }, job = "/request_id" }
    poll = { path = "/flux/requests/{job}/status", status = "/status", done = ["COMPLETED"], failed = ["FAILED"] }
    result = { path = "/flux/requests/{job}", output = "/images/0/url" }

`{prompt}`, `{seed}`, `{job}`, `{source}` and `{mask}` (the pictures as data: URLs) are replaced in paths and in the
body's texts; a text that is nothing but `{seed}` becomes a number. Where things stand in a reply is said by JSON
pointers (RFC 6901). Without `poll` the reply to the order holds the output. The output is an address, which is fetched
at once, or base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.downloads import fetch_output, from_base64
from paragone.data.generators.http_service import Patience, RequestFailed, Service, refusal_status
from paragone.data.generators.jobs import JobLog, Waiting, request_key
from paragone.data.generators.media import delivered, suffix_of
from paragone.data.generators.pricing import money
from paragone.data.generators.settings import check_names
from paragone.data.records import Status, Task

SECTIONS = {
    "submit": ("path", "body", "job"),
    "poll": ("path", "status", "done", "failed", "refused", "filtered", "message"),
    "result": ("path", "output", "cost", "model", "revised_prompt", "message"),
}
_PLACE = re.compile(r"\{(prompt|seed|job|source|mask)\}")
_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".mp4": "video/mp4"}


@dataclass
class HttpJob:
    """Orders a sample for each request, as its settings say."""

    name: str
    task: Task
    base_url: str
    submit: Mapping[str, Any]
    result: Mapping[str, Any]
    poll: Mapping[str, Any] = field(default_factory=dict)
    api_key_env: str | None = None
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    timeout_s: float = 120.0  # for one call
    job_timeout_s: float = 1800.0  # for an output
    poll_s: float = 1.0
    max_attempts: int = 5
    max_mb: int = 256  # of an output
    state_folder: Path | None = None
    remote: bool = field(default=True, init=False)
    at_once: int = field(default=64, init=False)
    incidental: tuple[str, ...] = field(
        default=("api_key_env", "timeout_s", "job_timeout_s", "poll_s", "max_attempts", "max_mb"), init=False
    )

    def __post_init__(self) -> None:
        for section, valid in SECTIONS.items():
            check_names(getattr(self, section), valid, owner=f"{self.name}: {section}")
        if "path" not in self.submit or "output" not in self.result:
            raise UsageError(f"{self.name}: submit needs a path, and result needs an output (a JSON pointer)")
        if self.poll and ("path" not in self.poll or "done" not in self.poll or "job" not in self.submit):
            raise UsageError(f"{self.name}: to wait for a job, submit needs job, and poll needs path and done")
        self._service = Service(
            self.base_url,
            self.api_key_env,
            auth_header=self.auth_header,
            auth_prefix=self.auth_prefix,
            patience=Patience(attempt_s=self.timeout_s, max_attempts=self.max_attempts),
        )
        self._jobs = JobLog(self.state_folder)
        self._waiting = Waiting(every_s=self.poll_s, deadline_s=self.job_timeout_s)

    @property
    def reports_cost(self) -> bool:
        """Whether the result says where its cost stands."""
        return "cost" in self.result

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One order for each request."""
        return (self._answer(request) for request in requests)

    def _answer(self, request: GenerationRequest) -> Generation:
        words = self._words(request)
        order = filled(self.submit.get("body", {}), words)
        key = request_key(request, [self.submit["path"], self.submit.get("body", {})])
        try:
            document, job = self._ordered(order, words, key)
            if self.poll:
                words = words | {"job": job}
                document = self._waiting.until(lambda: self._ended(words), f"job {job}")
                if (status := self._status(document)) is not Status.OK:
                    self._jobs.ended(key)
                    return Generation(request, status=status, message=self._message(document))
            if "path" in self.result:
                document = self._service.get(path_of(self.result["path"], words)).document()
            generation = self._generation(request, document)
        except RequestFailed as error:
            if error.status is not Status.TIMEOUT:
                self._jobs.ended(key)
            return Generation(request, status=error.status, message=str(error))
        except InputError as error:
            generation = Generation(request, status=Status.ERROR, message=str(error))
        self._jobs.ended(key)
        return generation

    def _ordered(self, order: Any, words: Mapping[str, Any], key: str) -> tuple[Any, str]:
        """The reply to the order, and the job's number; no reply when the job was ordered by an earlier run."""
        if (job := self._jobs.find(key)) is not None:
            return None, job
        document = self._service.post(path_of(self.submit["path"], words), order, once=key).document()
        if not self.poll:
            return document, ""
        job = at(document, self.submit["job"])
        if not isinstance(job, (str, int)) or job == "":
            words_of = str(document)[:200]
            raise RequestFailed(
                f"no job's number at {self.submit['job']} of the reply: {words_of}",
                status=refusal_status(words_of) or Status.ERROR,
            )
        self._jobs.ordered(key, str(job))
        return document, str(job)

    def _ended(self, words: Mapping[str, Any]) -> Any | None:
        document = self._service.get(path_of(self.poll["path"], words)).document()
        ends = [word for name in ("done", "failed", "refused", "filtered") for word in _listed(self.poll.get(name))]
        return document if at(document, self.poll.get("status", "/status")) in ends else None

    def _status(self, document: Any) -> Status:
        said = at(document, self.poll.get("status", "/status"))
        if said in _listed(self.poll["done"]):
            return Status.OK
        for name, status in (("refused", Status.REFUSED), ("filtered", Status.FILTERED)):
            if said in _listed(self.poll.get(name)):
                return status
        return refusal_status(self._message(document)) or Status.ERROR

    def _message(self, document: Any) -> str:
        said = at(document, self.poll.get("status", "/status"))
        words = at(document, self.poll.get("message", "/error"))
        return f"the job ended as {said}: {' '.join(str(words or 'no reason given').split())[:300]}"

    def _generation(self, request: GenerationRequest, document: Any) -> Generation:
        output = at(document, self.result["output"])
        if isinstance(output, list) and output:
            output = output[0]
        if not isinstance(output, str) or not output:
            words = str(at(document, self.result.get("message", "/error")) or f"no output at {self.result['output']}")
            return Generation(request, status=refusal_status(words) or Status.ERROR, message=words[:300])
        is_address = "://" in output[:16] or output.startswith("data:")
        limit = self.max_mb << 20
        content = fetch_output(output, self._service, limit=limit) if is_address else from_base64(output)
        cost = at(document, self.result["cost"]) if "cost" in self.result else None
        facts = {
            field: at(document, self.result[name])
            for field, name in (("model_served", "model"), ("revised_prompt", "revised_prompt"))
            if name in self.result
        }
        file = delivered(content, f"prompt {request.prompt.id!r}, seed {request.seed}")
        return Generation(request, file=file, cost_usd=None if cost is None else money(str(cost), "cost"), **facts)

    def _words(self, request: GenerationRequest) -> dict[str, Any]:
        words: dict[str, Any] = {"prompt": request.prompt.text, "seed": request.seed}
        wanted = str(self.submit)
        for name, path in (("source", request.source), ("mask", request.mask)):
            if f"{{{name}}}" in wanted:
                words[name] = "" if path is None else data_url(path.read_bytes())
        return words


def filled(value: Any, words: Mapping[str, Any]) -> Any:
    """A body with its placeholders replaced, once; a text that is one placeholder takes its value's kind."""
    if isinstance(value, Mapping):
        return {name: filled(part, words) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, words) for part in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole and whole[1] in words:
        return words[whole[1]]
    return _PLACE.sub(lambda found: str(words.get(found[1], found[0])), value)


def path_of(path: str, words: Mapping[str, Any]) -> str:
    """A path with its placeholders replaced by what is safe in an address."""
    return _PLACE.sub(lambda found: quote(str(words.get(found[1], "")), safe=""), path)


def at(document: Any, pointer: str) -> Any:
    """What stands at a JSON pointer (RFC 6901); None when nothing does."""
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document.get(part)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def data_url(content: bytes) -> str:
    """A picture as a data: URL."""
    mime = _MIME.get(suffix_of(content) or "", "application/octet-stream")
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
