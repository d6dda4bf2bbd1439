"""What a stored call asked, made again from the store's prompt and files, and held against the digest on record.

Messages are not kept with every verdict: they follow from the template, the prompt and the pictures. Made again, their
canonical request has the digest that the call was recorded with, or something has changed since, which is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paragone.data.errors import UsageError
from paragone.data.records import Prompt, Status, fingerprint
from paragone.judges.calls import JudgeCall
from paragone.judges.chat import canonical_request
from paragone.judges.endpoint import Wish
from paragone.judges.limits import Showing
from paragone.judges.messages import Question, repeated
from paragone.judges.mllm import MLLMJudge, checked_form, checked_protocol
from paragone.judges.parsing import NotACompletion, parse_answer, read_completion
from paragone.judges.schema import Schema, answer_schema, labels

WISHED = ("model", "max_tokens", "temperature", "seed", "soft", "shown")  # of a call's parameters: not how it was sent


@dataclass(frozen=True, slots=True)
class Rendered:
    """The question of one call; `doubt` says why it may not be the very one that was asked, "" when it is."""

    question: Question
    doubt: str


def rendered(
    call: Mapping[str, Any], prompt: Prompt, a: Path, b: Path, *, template: Path | None = None, before: str = ""
) -> Rendered:
    """The messages and media of a recorded call about the files `a`, shown first, and `b`.

    `before` is the raw reply that a repair (`call["repair"]`) mends. Raises a `ParagoneError` when files are missing,
    or the template on record is neither the built-in one nor the one in the file `template`.
    """
    protocol, showing = checked_protocol(call["protocol"]), _showing(call)
    judge = MLLMJudge(
        call["model"], base_url=call["base_url"], protocol=protocol, template=template, clips=showing.form
    )
    if judge.template.sha256 != call["template_sha256"]:
        raise UsageError(
            f"the template on record is {call['template']} ({call['template_sha256'][:8]}), and this is "
            f"{judge.template.name} ({judge.template.sha256[:8]}); give its file with --template"
        )
    every = judge.questions(prompt, a, b, showing)
    media = list(call["media"])
    fitting = next((asked for asked in every if [one.sha256 for one in asked.media] == media), None)
    if fitting is None:
        return Rendered(
            every[0], "the pictures are not those that were sent: a file, or how it is encoded, has changed"
        )
    schema = answer_schema(protocol, judge.template.rubric(prompt.task).criteria)
    if call["repair"]:
        fitting = repeated(fitting, _text(before), _problem(before, schema, protocol))
    digest = fingerprint(canonical_request(fitting, _wish(call, schema), _record(call)))
    same = digest == call["request_sha256"]
    return Rendered(fitting, "" if same else "the request's digest is another: its words are not those that were sent")


def _showing(call: Mapping[str, Any]) -> Showing:
    shown = call.get("shown") or {}
    return Showing(checked_form(shown.get("form", "frames")), float(shown.get("scale", 1.0)))


def _wish(call: Mapping[str, Any], schema: Schema | None) -> Wish:
    given = call["parameters"]
    return Wish(given["model"], given["max_tokens"], given["temperature"], given["seed"], schema, given["soft"])


def _record(call: Mapping[str, Any]) -> JudgeCall:
    return JudgeCall(
        protocol=call["protocol"],
        model=call["model"],
        base_url=call["base_url"],
        template=call["template"],
        template_sha256=call["template_sha256"],
        request_sha256="",
        media=tuple(call["media"]),
        parameters={name: value for name, value in call["parameters"].items() if name in WISHED},
        status=Status.OK,
        sample=call["sample"],
        repair=call["repair"],
    )


def _text(raw: str) -> str:
    try:
        return read_completion(raw).text
    except NotACompletion:
        return ""


def _problem(raw: str, schema: Schema | None, protocol: str) -> str:
    try:
        return parse_answer(read_completion(raw), schema=schema, labels=labels(protocol)).reason
    except NotACompletion as error:
        return str(error)
