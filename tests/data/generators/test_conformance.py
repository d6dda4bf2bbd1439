"""The conformance suite itself: a good adapter passes, and each rule has an adapter that only it finds out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from paragone.data.generators.base import Generation, GenerationRequest, MediaFile
from paragone.data.generators.conformance import NonConforming, check_generator
from paragone.data.generators.media import encode_clip, encode_png
from paragone.data.records import Status, Task


class Good:
    """Noise by prompt and seed; stills, or clips for a video task."""

    name = "good"

    def __init__(self, task: Task = Task.TEXT_TO_IMAGE, **facts: Any) -> None:
        self.task = task
        vars(self).update(facts)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        for number, request in enumerate(requests):
            yield self.answer(request, number)

    def answer(self, request: GenerationRequest, number: int) -> Generation:
        rng = np.random.default_rng([request.seed, *request.prompt.text.encode()[:50]])
        if "video" in self.task:
            return Generation(request, clip=rng.integers(0, 255, (3, 8, 8, 3), np.uint8), fps=8.0)
        return Generation(request, rng.integers(0, 255, (8, 8, 3), np.uint8))


@pytest.mark.parametrize("task", list(Task))
def test_a_good_adapter_passes(task: Task) -> None:
    report = check_generator(Good(task, seeded=True, fingerprint="f"))
    assert report.n_ok == report.n_requests
    assert [checked.rule for checked in report.rules] == [
        "members", "nothing", "answers", "outcome", "pixels", "kind", "figures", "inputs", "repeats", "seeds",
        "neighbours", "fingerprint",
    ]  # fmt: skip
    assert {checked.rule for checked in report.skipped} <= {"inputs"}


def test_files_are_looked_into() -> None:
    class Files(Good):
        def answer(self, request: GenerationRequest, number: int) -> Generation:
            made = super().answer(request, number)
            assert made.image is not None
            return Generation(request, file=MediaFile(encode_png(made.image), ".png", 8, 8))

    assert check_generator(Files(seeded=True)).n_ok


def test_refusing_everything_is_allowed() -> None:
    class Shy(Good):
        def answer(self, request: GenerationRequest, number: int) -> Generation:
            return Generation(request, status=Status.REFUSED, message="no")

    report = check_generator(Shy())
    assert report.n_ok == 0
    assert "0 of 4 requests were ok" in {checked.skipped for checked in report.skipped}


def test_an_unseeded_adapter_may_say_so_or_be_found_out() -> None:
    rng = np.random.default_rng(0)

    class Dice(Good):
        def answer(self, request: GenerationRequest, number: int) -> Generation:
            return Generation(request, rng.integers(0, 255, (8, 8, 3), np.uint8))

    assert "not seeded" in check_generator(Dice(seeded=False)).skipped[-2].skipped
    assert "not seeded" in check_generator(Dice()).skipped[-2].skipped
    with pytest.raises(NonConforming, match="'repeats'"):
        check_generator(Dice(seeded=True))


def broken(rule: str) -> Any:
    """An adapter that breaks one rule."""

    class Broken(Good):
        asked = 0

        def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
            answers = list(super().generate(requests))
            if rule == "answers: raised" and requests and requests[0].prompt.text.startswith("{"):
                raise KeyError("seed")
            if rule == "answers: left out":
                answers = answers[1:]
            if rule == "answers: twice":
                answers *= 2
            if rule == "answers: unasked" and answers:
                answers.append(replace(answers[0], request=replace(answers[0].request, seed=99)))
            if rule == "nothing" and not requests:
                answers = [Generation(GenerationRequest(Good.__new__(Good), 0))]  # type: ignore[arg-type]
            if rule == "inputs" and requests and requests[0].source is not None:
                requests[0].source.write_bytes(b"mine now")
            if rule == "fingerprint":
                self.fingerprint += "!"
            return iter(answers)

        def answer(self, request: GenerationRequest, number: int) -> Generation:
            Broken.asked += 1
            made = super().answer(request, number)
            picture = made.image if made.image is not None else np.zeros((8, 8, 3), np.uint8)
            changes: dict[str, Any] = {
                "outcome: nothing": {"image": None},
                "outcome: both": {"clip": np.zeros((2, 8, 8, 3), np.uint8), "fps": 1.0},
                "outcome: picture of an error": {"status": Status.ERROR, "message": "x"},
                "outcome: no words": {"status": Status.ERROR, "image": None},
                "outcome: a word": {"status": "fine"},
                "pixels: floats": {"image": picture / 255.0},
                "pixels: channels first": {"image": np.moveaxis(picture, -1, 0)},
                "pixels: four channels": {"image": np.zeros((8, 8, 4), np.uint8)},
                "pixels: a list": {"image": [[0]]},
                "pixels: empty": {"image": np.zeros((0, 8, 3), np.uint8)},
                "kind: a clip": {"image": None, "clip": np.zeros((2, 8, 8, 3), np.uint8), "fps": 1.0},
                "kind: a clip's file": {
                    "image": None,
                    "file": MediaFile(encode_clip(np.zeros((2, 8, 8, 3), np.uint8), 8), ".mp4", 8, 8, 2, 8.0),
                },
                "figures: cost": {"cost_usd": 0.04},
                "figures: negative": {"cost_usd": Decimal(-1)},
                "figures: latency": {"latency_s": float("nan")},
                "figures: details": {"details": {"x": object()}},
                "repeats": {"image": np.full((8, 8, 3), Broken.asked % 255, np.uint8)},
                "seeds": {"image": np.full((8, 8, 3), len(request.prompt.text) % 255, np.uint8)},
                "neighbours": {"image": (picture + number).astype(np.uint8)},
            }
            return replace(made, **changes.get(rule, {}))

    task = Task.IMAGE_EDITING if rule == "inputs" else Task.TEXT_TO_IMAGE
    adapter = Broken(task, seeded=True, fingerprint="f")
    if rule == "members: name":
        adapter.name = " "
    if rule == "members: task":
        adapter.task = "text-to-image"  # type: ignore[assignment]
    if rule == "members: no object":
        return object()
    return adapter


RULES = [
    "members: name", "members: task", "members: no object", "nothing", "answers: raised", "answers: left out",
    "answers: twice", "answers: unasked", "outcome: nothing", "outcome: both", "outcome: picture of an error",
    "outcome: no words", "outcome: a word", "pixels: floats", "pixels: channels first", "pixels: four channels",
    "pixels: a list", "pixels: empty", "kind: a clip", "kind: a clip's file", "figures: cost", "figures: negative",
    "figures: latency", "figures: details", "inputs", "repeats", "seeds", "neighbours", "fingerprint",
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_found_broken(rule: str) -> None:
    with pytest.raises(NonConforming) as raised:
        check_generator(broken(rule))
    assert raised.value.rule == rule.partition(":")[0]
    assert str(raised.value).startswith(f"rule '{raised.value.rule}' is broken: ")
