"""ComfyUI: a workflow in its API format, with the request's prompt and seed put where they belong.

    inject = { prompt = "6.inputs.text", seed = "3.inputs.seed", source = "10.inputs.image" }

The workflow is posted to `/prompt`, its end awaited at `/history/{id}`, the outputs fetched from `/view`; input
pictures go to `/upload/image` first. ComfyUI keeps what nodes gave and answers an equal graph with nothing new, so
every node that saves gets a file name of its own: only saving is done again then. A node that fails is named in the
message.
"""

from __future__ import annotations

import copy
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.http_service import Patience, RequestFailed, Service
from paragone.data.generators.jobs import JobLog, Waiting, request_key
from paragone.data.generators.media import delivered, suffix_of
from paragone.data.generators.settings import check_names
from paragone.data.records import Status, Task, fingerprint

INJECTED = ("prompt", "seed", "source", "mask")
INCIDENTAL = ("workflow", "base_url", "api_key_env", "timeout_s", "job_timeout_s", "poll_s", "max_attempts")
OUTPUTS = ("images", "gifs", "videos", "video", "animated")  # where nodes list the files that they wrote


@dataclass
class ComfyUI:
    """Runs a workflow for each request."""

    name: str
    task: Task
    workflow: Path  # JSON, saved with Export (API)
    inject: Mapping[str, Any]  # what goes where: node.inputs.name
    base_url: str = "http://127.0.0.1:8188"
    api_key_env: str | None = None
    output_node: str | None = None  # whose file counts, where several save one
    timeout_s: float = 60.0  # for one call
    job_timeout_s: float = 1800.0  # for one workflow
    poll_s: float = 0.5
    max_attempts: int = 5
    state_folder: Path | None = None
    remote: bool = field(default=True, init=False)
    at_once: int = field(default=16, init=False)
    incidental: tuple[str, ...] = field(default=INCIDENTAL, init=False)

    def __post_init__(self) -> None:
        self._graph = _read_workflow(self.workflow)
        check_names(self.inject, INJECTED, owner=f"{self.name}: inject")
        if "prompt" not in self.inject:
            raise UsageError(f"{self.name}: inject must say where the prompt goes, such as prompt = '6.inputs.text'")
        for what, place in self.inject.items():
            _check_place(self._graph, str(place), f"{self.name}: inject: {what}")
        if self.output_node is not None and self.output_node not in self._graph:
            raise UsageError(f"{self.name}: output_node {self.output_node!r} is no node of {self.workflow}")
        self.fingerprint = fingerprint(self._graph)
        self.seeded = "seed" in self.inject
        self._service = Service(
            self.base_url, self.api_key_env, patience=Patience(attempt_s=self.timeout_s, max_attempts=self.max_attempts)
        )
        self._jobs = JobLog(self.state_folder)
        self._waiting = Waiting(every_s=self.poll_s, longest_s=5.0, deadline_s=self.job_timeout_s)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One run of the workflow for each request."""
        return (self._answer(request) for request in requests)

    def _answer(self, request: GenerationRequest) -> Generation:
        key = request_key(request, [self._graph, dict(self.inject)])
        try:
            job = self._jobs.find(key)
            if job is None or not self._knows(job):
                job = self._order(request, key)
            history = self._waiting.until(lambda: self._ended(job), f"workflow {job}")
            self._jobs.ended(key)
            return self._generation(request, history)
        except RequestFailed as error:
            if error.status is not Status.TIMEOUT:
                self._jobs.ended(key)
            return Generation(request, status=error.status, message=str(error))
        except InputError as error:
            return Generation(request, status=Status.ERROR, message=str(error))

    def _order(self, request: GenerationRequest, key: str) -> str:
        graph = copy.deepcopy(self._graph)
        values: dict[str, Any] = {"prompt": request.prompt.text, "seed": request.seed}
        for what, path in (("source", request.source), ("mask", request.mask)):
            if what in self.inject:
                if path is None:
                    raise RequestFailed(f"the workflow wants a {what} picture, and the prompt has none")
                values[what] = self._upload(path)
        for what, place in self.inject.items():
            node, inputs, name = str(place).split(".", 2)
            graph[node][inputs][name] = values[what]
        for saving in graph.values():
            if "filename_prefix" in saving.get("inputs", {}):
                saving["inputs"]["filename_prefix"] = f"paragone-{key[:12]}-{secrets.token_hex(4)}"
        try:
            document = self._service.post("/prompt", {"prompt": graph, "client_id": "paragone"}).object()
        except RequestFailed as error:
            raise RequestFailed(_node_errors(error.body) or str(error), status=error.status, code=error.code) from error
        job = document.get("prompt_id")
        if not isinstance(job, str):
            raise RequestFailed(_node_errors(json.dumps(document)) or "ComfyUI took the workflow without numbering it")
        self._jobs.ordered(key, job)
        return job

    def _upload(self, path: Path) -> str:
        content = path.read_bytes()
        name = f"paragone-{hashlib.sha256(content).hexdigest()[:24]}{suffix_of(content) or path.suffix}"
        files = {"image": (name, content)}
        reply = self._service.send("POST", "/upload/image", data={"overwrite": "true"}, files=files).object()
        stored, below = str(reply.get("name") or name), str(reply.get("subfolder") or "")
        return f"{below}/{stored}" if below else stored

    def _ended(self, job: str) -> Mapping[str, Any] | None:
        """What the history says of a workflow, once it says anything; raises when it was lost."""
        found = self._service.get(f"/history/{job}").object().get(job)
        if isinstance(found, Mapping):
            return found
        if not self._is_queued(job) and not self._in_history(job):
            raise RequestFailed(f"ComfyUI knows nothing of workflow {job} any more; was it restarted?")
        return None

    def _knows(self, job: str) -> bool:
        return self._in_history(job) or self._is_queued(job)

    def _in_history(self, job: str) -> bool:
        return job in self._service.get(f"/history/{job}").object()

    def _is_queued(self, job: str) -> bool:
        queue = self._service.get("/queue").object()
        return any(job in entry for name in ("queue_running", "queue_pending") for entry in queue.get(name, []))

    def _generation(self, request: GenerationRequest, history: Mapping[str, Any]) -> Generation:
        status = history.get("status") or {}
        if status.get("status_str") == "error":
            return Generation(request, status=Status.ERROR, message=_execution_error(status))
        found = _output_file(history.get("outputs") or {}, self.output_node)
        if found is None:
            return Generation(
                request,
                status=Status.ERROR,
                message="the workflow ended without a file; does it have a node that saves, and is that output_node?",
            )
        wanted = {name: str(found.get(name, "")) for name in ("filename", "subfolder", "type")}
        content = self._service.get("/view", parameters=wanted).content
        return Generation(request, file=delivered(content, wanted["filename"]))


def _read_workflow(path: Path) -> dict[str, dict[str, Any]]:
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a workflow: {error}") from error
    if (
        not isinstance(graph, dict)
        or "nodes" in graph
        or not all(isinstance(node, dict) and "class_type" in node for node in graph.values())
    ):
        raise InputError(f"{path}: is no workflow in API format; save it in ComfyUI with Export (API)")
    return graph


def _check_place(graph: Mapping[str, Mapping[str, Any]], place: str, name: str) -> None:
    node, _, rest = place.partition(".")
    below, _, key = rest.partition(".")
    if node not in graph:
        raise UsageError(f"{name}: no node {node!r} in the workflow (it has: {', '.join(sorted(graph))})")
    if below != "inputs" or key not in graph[node].get("inputs", {}):
        inputs = ", ".join(f"{node}.inputs.{key}" for key in graph[node].get("inputs", {}))
        raise UsageError(f"{name}: {place!r} is no input of that node (it has: {inputs or 'none'})")


def _output_file(outputs: Mapping[str, Any], node: str | None) -> Mapping[str, Any] | None:
    """The first file that a node saved; what was only a preview (`temp`) counts where nothing was saved."""
    chosen = [outputs.get(node)] if node is not None else list(outputs.values())
    files = [
        file
        for output in chosen
        if isinstance(output, Mapping)
        for name in OUTPUTS
        if isinstance(output.get(name), list)
        for file in output[name]
        if isinstance(file, Mapping) and file.get("filename")
    ]
    saved = [file for file in files if file.get("type") != "temp"]
    return next(iter(saved or files), None)


def _node_errors(body: str) -> str:
    """The errors of a workflow that was not accepted, node by node."""
    try:
        document = json.loads(body)
        error, nodes = document.get("error") or {}, document.get("node_errors") or {}
        words = [
            f"node {number} ({node.get('class_type', '?')}): {problem.get('message', '')} {problem.get('details', '')}"
            for number, node in nodes.items()
            for problem in node.get("errors", [])
        ]
        if not words and not error:
            return ""
        first = error.get("message", "") if isinstance(error, Mapping) else str(error)
        return " ".join(f"ComfyUI refuses the workflow: {first}; {'; '.join(words)}".split())[:600]
    except (ValueError, AttributeError):
        return ""


def _execution_error(status: Mapping[str, Any]) -> str:
    for entry in status.get("messages") or []:
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == "execution_error":
            facts = entry[1]
            words = f"{facts.get('exception_type', '')}: {facts.get('exception_message', '')}"
            return " ".join(f"node {facts.get('node_id')} ({facts.get('node_type')}): {words}".split())[:600]
    return "the workflow ended in an error that it does not name"
