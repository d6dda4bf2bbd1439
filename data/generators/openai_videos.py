"""The videos route of OpenAI, which vLLM-Omni and others speak as well: order, wait, fetch.

    POST {base_url}/videos               model, prompt, seconds, size; multipart with input_reference
    GET  {base_url}/videos/{id}          until its status is completed or failed
    GET  {base_url}/videos/{id}/content  the clip

The number of a job is written down before it is waited for, so a run that was killed goes on waiting for it instead of
ordering, and paying, again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import VIDEO_TASKS, Generation, GenerationRequest
from paragone.data.generators.downloads import fetch_output
from paragone.data.generators.http_service import Patience, RequestFailed, Service, error_words, refusal_status
from paragone.data.generators.jobs import JobLog, Waiting, request_key
from paragone.data.generators.media import delivered
from paragone.data.records import Status, Task

DONE, FAILED = ("completed", "succeeded"), ("failed", "cancelled", "canceled", "expired")


@dataclass
class OpenAIVideos:
    """Orders a clip for each request and waits for it."""

    name: str
    task: Task
    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str | None = None
    size: str | None = None  # such as 1280x720
    seconds: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)  # what else the server knows
    timeout_s: float = 120.0  # for one call
    job_timeout_s: float = 1800.0  # for a clip
    poll_s: float = 5.0
    max_attempts: int = 5
    state_folder: Path | None = None
    remote: bool = field(default=True, init=False)
    at_once: int = field(default=64, init=False)
    incidental: tuple[str, ...] = field(
        default=("api_key_env", "timeout_s", "job_timeout_s", "poll_s", "max_attempts"), init=False
    )

    def __post_init__(self) -> None:
        if self.task not in VIDEO_TASKS:
            raise UsageError(f"{self.name}: openai-videos cannot do {self.task}; see openai-images")
        self._service = Service(
            self.base_url, self.api_key_env, patience=Patience(attempt_s=self.timeout_s, max_attempts=self.max_attempts)
        )
        self._jobs = JobLog(self.state_folder)
        self._waiting = Waiting(every_s=self.poll_s, deadline_s=self.job_timeout_s)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One job for each request."""
        return (self._answer(request) for request in requests)

    def _answer(self, request: GenerationRequest) -> Generation:
        fields = self._fields(request)
        key = request_key(request, fields)
        try:
            job = self._jobs.find(key) or self._order(request, fields, key)
            document = self._waiting.until(lambda: self._ended(job), f"video {job}")
            if document["status"] in FAILED:
                self._jobs.ended(key)
                return _failed(request, document)
            content = fetch_output(f"{self._service.base_url}/videos/{job}/content", self._service)
            clip = delivered(content, f"video {job}")
        except RequestFailed as error:
            if error.code is not None:  # the server does not know the job, or will not have the order
                self._jobs.ended(key)
            return Generation(request, status=error.status, message=str(error))
        except InputError as error:
            self._jobs.ended(key)
            return Generation(request, status=Status.ERROR, message=str(error))
        self._jobs.ended(key)
        served = document.get("model")
        return Generation(request, file=clip, model_served=served if isinstance(served, str) else None)

    def _fields(self, request: GenerationRequest) -> dict[str, Any]:
        ours = {"model": self.model, "prompt": request.prompt.text, "size": self.size, "seconds": self.seconds}
        return {name: value for name, value in ours.items() if value is not None} | dict(self.body)

    def _order(self, request: GenerationRequest, fields: Mapping[str, Any], key: str) -> str:
        if self.task is Task.IMAGE_TO_VIDEO:
            if request.source is None:
                raise RequestFailed("the prompt has no source picture to start from")
            files = {"input_reference": (request.source.name, request.source.read_bytes())}
            words = {name: str(value) for name, value in fields.items()}
            reply = self._service.send("POST", "/videos", once=key, data=words, files=files)
        else:
            reply = self._service.post("/videos", fields, once=key)
        job = reply.object().get("id")
        if not isinstance(job, str) or not job:
            raise RequestFailed("the server took the order without giving it a number")
        self._jobs.ordered(key, job)
        return job

    def _ended(self, job: str) -> dict[str, Any] | None:
        document = self._service.get(f"/videos/{job}").object()
        return document if document.get("status") in DONE + FAILED else None


def _failed(request: GenerationRequest, document: Mapping[str, Any]) -> Generation:
    kind, words = error_words(str(document.get("error") or document["status"]))
    error = document.get("error")
    if isinstance(error, Mapping):
        kind, words = str(error.get("code") or ""), str(error.get("message") or document["status"])
    status = refusal_status(f"{kind or ''} {words}") or Status.ERROR
    return Generation(request, status=status, message=f"the job {document['status']}: {words}")
