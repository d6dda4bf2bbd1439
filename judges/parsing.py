"""From a reply's bytes to an answer, or to the reason why there is none. Nothing is guessed.

The ladder, whose step is recorded with the answer: a refusal or a filter is looked for first; then the whole text as
JSON; then the last object in it that fits the schema (`last-object`; later ones count because words of a picture or of
the reasoning come earlier); then the same with harmless slips mended, such as a trailing comma (`mended`); then the
last object that at least decides (`partial`); then one line `VERDICT: …` (`sentinel`). What contradicts itself is
invalid.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema

from paragone.data.records import Status
from paragone.judges.schema import Schema, least_schema, without_limits

MAX_CHARACTERS = 100_000  # of a reply that are read
MAX_RESTARTS = 64  # braces in prose that do not belong to an object
FILTERED_REASONS = ("content_filter", "safety", "prohibited_content", "recitation", "blocklist", "image_safety")

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\A\W*((i['’]?m|i am) (very |really )?sorry,? (but )?|sorry,? (but )?|unfortunately,? |as an ai[^.]{0,60}, )?"
    r"(i (cannot|can['’]?t|can not|won['’]?t|am not able to|am unable to)|i['’]?m (unable|not able) to|we cannot)"
    r" (\w+ )?(assist|help|comply|fulfil|provide|judge|evaluate|analy[sz]e|compare|process|engage|discuss|continue)",
    re.IGNORECASE,
)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STRING_VALUE = re.compile(r'\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
_STRUCTURE = re.compile(r'["{}\[\]]')


@dataclass(frozen=True, slots=True)
class Completion:
    """The parts of a chat completion that matter here."""

    text: str
    refusal: str
    finish_reason: str
    served_model: str | None
    input_tokens: int | None
    output_tokens: int | None
    logprobs: tuple[dict[str, Any], ...]  # of the text's tokens; empty without


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer (`status` ok) or why there is none. `span` is where the deciding value stands in the text."""

    status: Status
    stage: str = ""
    reason: str = ""
    label: str | None = None
    answer: dict[str, Any] | None = None
    span: tuple[int, int] | None = None  # characters


class NotACompletion(ValueError):
    """A body that is no chat completion; the message says what it is instead."""


def read_completion(body: str) -> Completion:
    """The completion in a reply's body; raises `NotACompletion`."""
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        shown = " ".join(body[:120].split())
        raise NotACompletion(f"the reply is no chat completion: {shown!r}") from error
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    served = data.get("model")
    return Completion(
        text=_text_of(content),
        refusal=message["refusal"] if isinstance(message.get("refusal"), str) else "",
        finish_reason=str(choice.get("finish_reason") or ""),
        served_model=served if isinstance(served, str) else None,
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        logprobs=tuple(token for token in tokens if isinstance(token, dict)) if isinstance(tokens, list) else (),
    )


def parse_answer(completion: Completion, *, schema: Schema | None, labels: Sequence[str]) -> Parsed:
    """The answer in a completion. `schema` None: one of the labels as a word (yes-no)."""
    ended = ended_without_answer(completion)
    if ended is not None:
        return ended
    text = completion.text[:MAX_CHARACTERS]
    parsed = _one_word(text, labels) if schema is None else _from_json(text, schema, labels)
    if parsed.status is Status.INVALID and completion.finish_reason == "length":
        return Parsed(Status.INVALID, reason="the reply is cut off at the limit of tokens; allow more")
    return parsed


def ended_without_answer(completion: Completion) -> Parsed | None:
    """A refusal, a filter or nothing said; None for a text that may hold an answer."""
    if completion.refusal:
        return Parsed(Status.REFUSED, reason=completion.refusal)
    if completion.finish_reason.lower().startswith(FILTERED_REASONS):
        return Parsed(Status.FILTERED, reason=f"the endpoint stopped the reply: {completion.finish_reason}")
    if not completion.text.strip():
        length = completion.finish_reason == "length"
        return Parsed(
            Status.INVALID, reason="the reply is cut off before its first word" if length else "an empty reply"
        )
    if _REFUSAL.match(_THOUGHTS.sub("", completion.text)):
        return Parsed(Status.REFUSED, reason=" ".join(completion.text.split())[:300])
    return None


def _from_json(text: str, schema: Schema, labels: Sequence[str]) -> Parsed:
    whole, decides = _validators(json.dumps(schema))
    stripped = text.strip().removeprefix("\ufeff")
    value = _try(_strict, stripped)
    if value is not None and whole.is_valid(value):
        return _found("strict", value, text, text.index(stripped))
    spans = list(_objects(text))
    said_from = _end_of_thoughts(text, spans)
    spans = [span for span in spans if span[0] >= said_from]
    for stage, read, validator in (
        ("last-object", _strict, whole),
        ("mended", _mended, whole),
        ("partial", _strict, decides),
        ("partial", _mended, decides),
    ):
        for start, end in reversed(spans):
            value = _try(read, text[start:end])
            if value is not None and validator.is_valid(value):
                return _found(stage, value, text, start)
    return _sentinel(text[said_from:], labels) or _unreadable(text, spans, decides)


@functools.cache
def _validators(schema: str) -> tuple[Any, Any]:
    """Of a whole answer, and of one that at least decides; for a schema as JSON. There are as many as templates."""
    wanted = json.loads(schema)
    validator = jsonschema.Draft202012Validator
    return validator(without_limits(wanted)), validator(least_schema(wanted))


def _found(stage: str, answer: dict[str, Any], text: str, start: int) -> Parsed:
    label = str(answer["overall"])
    return Parsed(Status.OK, stage, label=label, answer=answer, span=_member_span(text, start, "overall"))


def _one_word(text: str, labels: Sequence[str]) -> Parsed:
    """The first word of what is said, when it is a label; anything after it must not say another."""
    start = _end_of_thoughts(text, ())
    words = list(re.finditer(r"[^\W_]+", text[start:]))
    said = {word.group().casefold() for word in words} & set(labels)
    if len(said) == 1 and words[0].group().casefold() in said:
        first = words[0]
        span = (start + first.start(), start + first.end())
        stage = "strict" if len(words) == 1 else "sentinel"
        return Parsed(Status.OK, stage, label=first.group().casefold(), span=span)
    wanted = " or ".join(labels)
    return Parsed(Status.INVALID, reason=f"the reply is not {wanted}: {' '.join(text.split())[:120]!r}")


def _sentinel(text: str, labels: Sequence[str]) -> Parsed | None:
    either = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    lines = re.findall(rf"^[ \t*#>]*VERDICT:[ \t*\"'`]*({either})[ \t*\"'`.]*$", text, re.MULTILINE | re.IGNORECASE)
    said = {line.casefold() for line in lines}
    if len(said) > 1:
        return Parsed(Status.INVALID, reason=f"the reply gives several verdicts: {', '.join(sorted(said))}")
    return Parsed(Status.OK, "sentinel", label=said.pop()) if said else None


def _unreadable(text: str, spans: Sequence[tuple[int, int]], validator: Any) -> Parsed:
    if not spans:
        return Parsed(Status.INVALID, reason=f"no JSON object in the reply: {' '.join(text.split())[:120]!r}")
    start, end = spans[-1]
    try:
        value = _mended(text[start:end])
    except (ValueError, RecursionError, MemoryError, SyntaxError) as error:
        return Parsed(Status.INVALID, reason=f"the last object is not JSON: {str(error)[:120]}")
    problem = next(iter(validator.iter_errors(value)), None)
    said = problem.message[:160] if problem is not None else "it does not fit the schema"
    return Parsed(Status.INVALID, reason=f"the last object does not fit the schema: {said}")


def _objects(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each outermost {…}; quotation marks count only inside one, where they may hide braces."""
    place, restarts = text.find("{"), 0
    while place >= 0 and restarts <= MAX_RESTARTS:
        end = _object_end(text, place)
        if end is None:
            restarts += 1
            place = text.find("{", place + 1)
        else:
            yield place, end
            place = text.find("{", end)


def _object_end(text: str, start: int) -> int | None:
    depth, in_string, place = 0, False, start
    while place < len(text):
        character = text[place]
        if in_string:
            if character == "\\":
                place += 1
            in_string = character != '"'
        elif character == '"':
            in_string = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return place + 1
        place += 1
    return None


def _end_of_thoughts(text: str, spans: Sequence[tuple[int, int]]) -> int:
    """Where the answer begins: after the last closing tag of a reasoning block, or nowhere while one is open.

    A tag within an object is text that the model read somewhere.
    """
    start = 0
    for tag in _THOUGHTS_TAG.finditer(text):
        if not any(begin <= tag.start() < end for begin, end in spans):
            start = tag.end() if tag.group(1) else len(text)
    return start


def _try(read: Callable[[str], Any], text: str) -> dict[str, Any] | None:
    try:
        value = read(text)
    except (ValueError, RecursionError, MemoryError, SyntaxError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def _strict(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_contradiction, parse_constant=_no_constant)


def _mended(text: str) -> Any:
    """JSON with trailing commas, or an object as Python writes it; letters' case and spaces around words are let be."""
    try:
        value = _strict(_TRAILING_COMMA.sub(r"\1", text))
    except ValueError:
        tree = ast.parse(text.strip(), mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                keys = [ast.unparse(key) for key in node.keys if key is not None]
                if len(set(keys)) != len(keys):
                    raise ValueError("a member is given twice") from None
        value = ast.literal_eval(tree)
    return _lowered(value)


def _lowered(value: Any, key: str = "") -> Any:
    """Deciding words in lower case, without spaces around them."""
    if isinstance(value, dict):
        return {name: _lowered(part, str(name)) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_lowered(part, key) for part in value]
    if isinstance(value, str) and key in ("overall", "winner", "margin", "confidence", "grade", "id"):
        return value.strip().lower()
    return value


def _without_contradiction(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"{name!r} is given twice, with different values")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _member_span(text: str, start: int, member: str) -> tuple[int, int] | None:
    """Where the string value of a member of the object at `start` stands, without its quotation marks."""
    found, depth, place = None, 0, start
    while (mark := _STRUCTURE.search(text, place)) is not None:
        place = mark.end()
        if mark.group() == '"':
            name = _STRING.match(text, mark.start())
            if name is None:
                return None
            place = name.end()
            value = _STRING_VALUE.match(text, place)
            if depth == 1 and name.group() == f'"{member}"' and value is not None:
                found = value.span(1)
            continue
        depth += 1 if mark.group() in "{[" else -1
        if depth == 0:
            break
    return found


def _text_of(content: object) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
