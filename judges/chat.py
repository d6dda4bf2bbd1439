"""One call to a model: canonical request, sending with what the endpoint takes, and reading the reply.

The canonical request, by which replies are kept, holds what was asked (messages, digests of the pictures, schema,
wishes, which repetition) and not how the endpoint had to be asked. A reply is read after it came back from the
exchange, so a kept one is read by today's parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paragone.data.records import Status, fingerprint
from paragone.judges.cache import Exchange, Memory, Reply
from paragone.judges.calls import JudgeCall
from paragone.judges.client import CallFailed, CallRejected, ChatClient
from paragone.judges.endpoint import Abilities, Wish
from paragone.judges.limits import Limits, Showing, TooMuch
from paragone.judges.media import CLIP_MIME
from paragone.judges.messages import Question, repeated
from paragone.judges.parsing import (
    Completion,
    NotACompletion,
    Parsed,
    ended_without_answer,
    parse_answer,
    read_completion,
)
from paragone.judges.soft import Soft, soft_verdict
from paragone.judges.templates import Template

REQUEST_SCHEMA = "paragone.judge-request/1"
CHARACTERS_PER_TOKEN = 3  # few, so that an estimate is rather too high
PIXELS_PER_TOKEN = 750
TOKENS_PER_PICTURE = 100  # on top
FRAMES_PER_CLIP = 16  # that a clip sent as it is may be read as
USUAL = Showing()


@dataclass
class ChatModel:
    """A model at an address; what it turned out to take is remembered in `abilities`."""

    client: ChatClient
    exchange: Exchange
    abilities: Abilities = field(default_factory=Abilities)
    limits: Limits = field(default_factory=Limits)
    memory: Memory | None = None  # where limits are kept
    retried: frozenset[Status] = frozenset()  # a kept reply that ends so is asked for anew

    async def ask(
        self,
        asked: Question,
        wish: Wish,
        *,
        template: Template,
        protocol: str,
        labels: Sequence[str],
        sample: int,
        showing: Showing = USUAL,
        weakest: bool = True,
    ) -> tuple[JudgeCall, ...]:
        """The call, and one more with what was wrong if its reply could not be read; the last one counts.

        Raises `TooMuch` when the endpoint refuses how much is shown, unless this is the `weakest` way to show it.
        """
        record = JudgeCall(
            protocol=protocol,
            model=wish.model,
            base_url=self.client.base_url,
            template=template.name,
            template_sha256=template.sha256,
            request_sha256="",
            media=tuple(media.sha256 for media in asked.media),
            parameters=wish.to_dict() | ({} if showing.usual else {"shown": showing.to_dict()}),
            status=Status.ERROR,
            shown=showing.to_dict() | {"because": list(showing.reasons)},
            sample=sample,
        )
        call = _Call(asked, wish, tuple(labels), record, weakest=weakest)
        calls = await self._mended(call)
        if calls[-1].cached and calls[-1].status in self.retried:
            calls = await self._mended(replace(call, fresh=True))
        return calls

    async def _mended(self, call: _Call) -> tuple[JudgeCall, ...]:
        first, text = await self._once(call)
        if first.status is not Status.INVALID or not text.strip():
            return (first,)
        again = replace(
            call, asked=repeated(call.asked, text, first.reason), record=replace(call.record, repair=1), weakest=True
        )
        second, _ = await self._once(again)
        return first, second

    async def _once(self, call: _Call) -> tuple[JudgeCall, str]:
        """The call's record, and the text of its reply."""
        asked, wish, labels, record = call.asked, call.wish, call.labels, call.record
        key = canonical_request(asked, wish, record)
        given: dict[str, Any] = {}

        async def send() -> Reply:
            return await self._send(call, given)

        try:
            reply = await self.exchange(key, send, expected=expected_tokens(asked, wish), fresh=call.fresh)
        except CallFailed as error:
            record = replace(record, request_sha256=fingerprint(key), status=error.status, n_attempts=error.n_attempts)
            return replace(record, reason=str(error), raw=error.body), ""
        completion = read_completion(reply.body)
        parsed = parse_answer(completion, schema=wish.schema, labels=labels)
        facts = _reply_facts(reply, given.pop("n_attempts", 1)) | _parsed_facts(parsed, completion, wish, labels)
        return replace(record, parameters={**record.parameters, **given}, **facts), completion.text

    async def _send(self, call: _Call, given: dict[str, Any]) -> Reply:
        """One reply to the question, asked with as much as the endpoint takes; `given` learns with what."""
        asked, wish, n_attempts = call.asked, call.wish, 0
        while True:
            abilities = self.abilities
            parameters = abilities.parameters(wish)
            try:
                answer = await self.client.complete(asked.body(parameters))
            except CallRejected as error:
                weaker = abilities.without_what_it_minds(error.body, parameters)
                if weaker is None:
                    self._learn(error, call)
                    raise
                n_attempts += error.n_attempts
                if self.abilities == abilities:  # else another call has learnt something meanwhile
                    self.abilities = weaker
                continue
            structured = abilities.structured if wish.schema is not None else "prose"
            sent = {name: value for name, value in parameters.items() if name != "response_format"}
            given |= {"structured": structured, "sent": sent}
            given["n_attempts"] = n_attempts + answer.n_attempts
            return _as_reply(answer.body, answer.latency_s)

    def _learn(self, refusal: CallRejected, call: _Call) -> None:
        """Raise `TooMuch` when the refusal is about how much is shown, and there is a weaker way to show it."""
        limits = None if call.weakest else self.limits.after(refusal, call.asked)
        if limits is not None:
            self.limits = limits
            if self.memory is not None:
                self.memory.keep_limits(self.client.base_url, call.wish.model, limits.to_dict())
            raise TooMuch(str(refusal)) from refusal


@dataclass(frozen=True, slots=True)
class _Call:
    """What one call is about."""

    asked: Question
    wish: Wish
    labels: tuple[str, ...]
    record: JudgeCall  # as far as it is known before
    weakest: bool
    fresh: bool = False  # a kept reply does not do


def canonical_request(asked: Question, wish: Wish, record: JudgeCall) -> dict[str, Any]:
    """What names a request: equal questions have equal canonical requests, whatever the files are called."""
    return {
        "schema": REQUEST_SCHEMA,
        "protocol": record.protocol,
        "messages": asked.canonical(),
        "answer": wish.schema,
        "parameters": dict(record.parameters),
        "sample": record.sample,
        "repair": record.repair,
    }


def expected_tokens(asked: Question, wish: Wish) -> tuple[int, int]:
    """A high estimate of the tokens of a call: those read, and those written at most."""
    characters = sum(
        len(part) if isinstance(part, str) else len(part.get("text", ""))
        for message in asked.messages
        for part in ([message["content"]] if isinstance(message["content"], str) else message["content"])
    )
    pictures = sum(
        (TOKENS_PER_PICTURE + media.width * media.height // PIXELS_PER_TOKEN)
        * (FRAMES_PER_CLIP if media.facts.mime == CLIP_MIME else 1)
        for media in asked.media
    )
    return characters // CHARACTERS_PER_TOKEN + pictures + 1, wish.max_tokens


def _as_reply(body: str, latency_s: float) -> Reply:
    try:
        completion = read_completion(body)
    except NotACompletion as error:
        raise CallFailed(str(error), status=Status.INVALID, body=body) from error
    ended = ended_without_answer(completion)
    return Reply(
        body=body,
        latency_s=latency_s,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        served_model=completion.served_model,
        keep=ended is None or ended.status is Status.INVALID,  # asked again, the refused may be answered
    )


def _reply_facts(reply: Reply, n_attempts: int) -> dict[str, Any]:
    return {
        "raw": reply.body,
        "request_sha256": reply.request_sha256,
        "served_model": reply.served_model,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cost_usd": reply.cost_usd,
        "latency_s": reply.latency_s,
        "cached": reply.cached,
        "n_attempts": 0 if reply.cached else n_attempts,
    }


def _parsed_facts(parsed: Parsed, completion: Completion, wish: Wish, labels: Sequence[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "status": parsed.status,
        "reason": parsed.reason,
        "parse_stage": parsed.stage,
        "label": parsed.label,
        "answer": parsed.answer,
    }
    if parsed.status is not Status.OK:
        return facts
    facts["score_mode"] = "hard"
    if not wish.soft:
        return facts
    soft = soft_verdict(completion.text, parsed.span, completion.logprobs, labels)
    if isinstance(soft, Soft):
        return facts | {"score_mode": "logprob", "probabilities": soft.probabilities, "mass": soft.mass}
    return facts | {"soft_reason": soft.reason, "mass": soft.mass}
