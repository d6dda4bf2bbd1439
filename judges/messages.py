"""From a question to the messages of a chat: instructions, the prompt as data, labelled media, rubric, contract.

No file name, model name or metadata goes in. The prompt stands between markers with a nonce that it cannot contain, and
characters that nobody sees (control, bidirectional, zero-width) are written out. The nonce follows from the prompt and
the template, so the same question is the same request. Media stand in the messages as placeholders until `body` puts
their base64 bytes between the pieces of the JSON: a large picture is encoded once and never passes a JSON encoder.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paragone.data.errors import InputError
from paragone.data.records import Prompt, Task
from paragone.judges.media import CLIP_MIME, Media, Shown
from paragone.judges.schema import in_words
from paragone.judges.templates import Template

WITH_SOURCE = frozenset({Task.IMAGE_EDITING, Task.IMAGE_TO_VIDEO})
MOVING = frozenset({Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO})
MAX_PROMPT_CHARACTERS = 32_000
LARGE_BYTES = 512 << 10  # of media: from here on a copy of them costs more than sending them piece by piece
MAX_REPEATED = 8_000  # characters of an unreadable reply that the model is shown again
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co"})
_ORDINALS = ("first", "second")
_PLACE = "\ue000media:"  # a private-use character: the prompt and replies have theirs written out
_PLACE_IN_JSON = json.dumps(_PLACE)[1:-1]
_ORDER_OF_TIME = "The frames are in the order of time, from left to right and then from top to bottom:"
_OUTSIDE = "The numbers stand above the frames and are not part of them:"
_JOINERS = frozenset({"\u200d", "\u200c", "\ufe0f"})  # emoji and several scripts need them


@dataclass(frozen=True, slots=True)
class Question:
    """One request's content: messages whose pictures are `{"media": index}`, and these pictures."""

    messages: tuple[dict[str, Any], ...]
    media: tuple[Media, ...]

    @property
    def n_images(self) -> int:
        """Pictures among the media."""
        return len(self.media) - self.n_videos

    @property
    def n_videos(self) -> int:
        """Clips among the media that are sent as they are."""
        return sum(media.facts.mime == CLIP_MIME for media in self.media)

    @property
    def n_bytes(self) -> int:
        """About what the request's body holds: its words, and its media in base64."""
        words = len(json.dumps([message["content"] for message in self.messages]))
        return words + sum(4 * -(-media.facts.n_bytes // 3) for media in self.media)

    def canonical(self) -> list[dict[str, Any]]:
        """The messages with each picture as the digest of the bytes that are sent."""
        return [self._filled(message, canonical=True) for message in self.messages]

    def body(self, parameters: Mapping[str, Any]) -> tuple[bytes, ...]:
        """The request's JSON, the pictures' base64 in it, in pieces: large ones are sent without being copied."""
        document = {**parameters, "messages": [self._filled(message, canonical=False) for message in self.messages]}
        text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
        pieces = text.split(f'"{_PLACE_IN_JSON}')
        if sum(media.facts.n_bytes for media in self.media) < LARGE_BYTES:
            return (b"".join(self._pieces(pieces)),)
        return tuple(self._pieces(pieces))

    def _pieces(self, pieces: Sequence[str]) -> Iterator[bytes]:
        words = pieces[0].encode()
        for piece in pieces[1:]:
            index, _, rest = piece.partition('"')
            media = self.media[int(index)]
            yield words + f'"data:{media.facts.mime};base64,'.encode()
            yield media.encoded
            words = b'"' + rest.encode()
        yield words

    def _filled(self, message: dict[str, Any], *, canonical: bool) -> dict[str, Any]:
        content = message["content"]
        if isinstance(content, str):
            return dict(message)
        return {**message, "content": [self._part(part, canonical=canonical) for part in content]}

    def _part(self, part: dict[str, Any], *, canonical: bool) -> dict[str, Any]:
        if "media" not in part:
            return part
        facts = self.media[part["media"]].facts
        kind = "video" if facts.mime == CLIP_MIME else "image"
        if canonical:
            return {"type": kind, "sha256": facts.sha256, "mime": facts.mime}
        return {"type": f"{kind}_url", f"{kind}_url": {"url": f"{_PLACE}{part['media']}"}}


def question(
    prompt: Prompt,
    template: Template,
    *,
    protocol: str,
    source: Shown | None,
    sides: Sequence[Shown],
    single: tuple[str, ...] = (),
) -> Question:
    """The messages that ask about `sides` (two for pairwise, else one); raises `InputError` for an endless prompt.

    With `single`, names of panels, `sides` is one canvas on which everything stands under these names.
    """
    if len(prompt.text) > MAX_PROMPT_CHARACTERS:
        raise InputError(f"prompt {prompt.id}: {len(prompt.text)} characters; a judge reads {MAX_PROMPT_CHARACTERS}")
    rubric = template.rubric(prompt.task)
    nonce = _nonce(prompt.text, template.sha256)
    lines = f"{template.question}\n\n<<<PROMPT {nonce}>>>\n{visible(prompt.text)}\n<<<END {nonce}>>>"
    media: list[Any] = []
    parts: list[dict[str, Any]] = [_text(lines)]
    if source is not None:
        _show(parts, media, "The source picture", source)
    moving = prompt.task in MOVING
    name = "video" if moving else "picture"
    if single:
        parts += [_text(_canvas_in_words(single, sides[0][0], name)), {"media": 0}]
        media, sides = [sides[0][0]], ()
    for place, side in enumerate(sides):
        label = f"The {_ORDINALS[place]} {name}" if len(sides) > 1 else f"The {name} to judge"
        _show(parts, media, label, side)
    contract = template.contract.replace("{schema}", in_words(protocol, rubric.criteria))
    parts.append(_text(f"{rubric.text}\n\n{contract}"))
    system = {"role": "system", "content": template.system}
    return Question((system, {"role": "user", "content": parts}), tuple(media))


def repeated(asked: Question, reply: str, problem: str) -> Question:
    """The same question once more, after a reply that could not be read."""
    again = (
        f"Your reply could not be read: {visible(problem)}. Reply again, with the one JSON object that was asked for "
        "and nothing else."
    )
    more = ({"role": "assistant", "content": visible(reply[:MAX_REPEATED])}, {"role": "user", "content": again})
    return Question((*asked.messages, *more), asked.media)


def visible(text: str) -> str:
    """The text with characters that cannot be seen, or that turn the direction of writing, written as ⟨U+202E⟩."""
    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if unicodedata.category(character) in _INVISIBLE and character not in "\n\t" and character not in _JOINERS
        else character
        for character in text.replace("\r\n", "\n")
    )


def panel_names(*, source: bool, n_sides: int) -> tuple[str, ...]:
    """What the panels of a canvas with everything on it are called, in their order."""
    return (*(["SOURCE"] if source else []), *(["FIRST", "SECOND"] if n_sides > 1 else ["TO JUDGE"]))


def _canvas_in_words(names: Sequence[str], canvas: Media, kind: str) -> str:
    """What stands where on a canvas with everything on it."""
    what = {"SOURCE": "the source picture", "FIRST": f"the first {kind}", "SECOND": f"the second {kind}"}
    listed = "; ".join(f"under {name}: {what.get(name, f'the {kind} to judge')}" for name in names)
    words = f"Everything is in one picture, in panels with a name above each. {listed}."
    times, n_clips = canvas.facts.times_s, sum(name != "SOURCE" for name in names)
    if times:
        size = len(times) // n_clips
        clips = [name for name in names if name != "SOURCE"]
        spans = (f"{name}: {_times(times[k * size : (k + 1) * size])}" for k, name in enumerate(clips))
        words += f" {_ORDER_OF_TIME} {'. '.join(spans)}."
    return f"{words} Names and numbers stand outside the frames and are not part of them:"


def _times(times: Sequence[float]) -> str:
    return ", ".join(f"{number} at {time:.2f} s" for number, time in enumerate(times, start=1))


def _show(parts: list[dict[str, Any]], media: list[Any], label: str, shown: Shown) -> None:
    if len(shown) == 1 and shown[0].time_s is None:
        times = shown[0].facts.times_s
        sheet = f", as {len(times)} frames on one sheet. {_ORDER_OF_TIME} {_times(times)}. {_OUTSIDE}" if times else ":"
        parts.append(_text(f"{label}{sheet}"))
        parts.append({"media": len(media)})
        media.append(shown[0])
        return
    for number, frame in enumerate(shown, start=1):
        parts.append(_text(f"{label}, frame {number} of {len(shown)}, t = {frame.time_s or 0.0:.2f} s:"))
        parts.append({"media": len(media)})
        media.append(frame)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _nonce(text: str, salt: str) -> str:
    """16 hex digits that do not occur in the prompt."""
    round_ = 0
    while True:
        nonce = hashlib.sha256(f"{salt}|{round_}|{text}".encode("utf-8", "backslashreplace")).hexdigest()[:16]
        if nonce not in text:
            return nonce
        round_ += 1
