"""What is expected of every generator adapter, rule by rule, and a check of it that anybody can run.

    check_generator(MyGenerator())            raises NonConforming, which names the rule, or returns a report

In a test of a package of its own, that is all there is to do; `paragone generate --check` runs the same on a generator
of paragone.toml. About ten requests are made: an adapter for a paid service pays for them.

    members      it has a name, a task and generate(requests)
    nothing      no requests, no answers
    answers      every request is answered once, none unasked; whatever stands in a prompt, nothing is raised
    outcome      ok comes with exactly one image, clip or file, anything else with none, and with a message
    pixels       images are uint8 [H, W] or [H, W, 3]; clips uint8 [T, H, W, 3] with their frames a second
    kind         clips for video tasks, stills for the others
    figures      latencies are finite seconds, costs are exact Decimals, neither is negative; details fit into JSON
    inputs       input pictures and masks are left as they were
    repeats      the same request gives the same pixels again              (adapters that are `seeded`)
    seeds        another seed gives other pixels                           (adapters that are `seeded`)
    neighbours   an answer does not depend on what else is in the batch, nor on its order   (`seeded`)
    fingerprint  if there is one, it is a text, and stays what it is
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.errors import ParagoneError, PluginError
from paragone.data.files import file_digest
from paragone.data.generators.base import SOURCE_TASKS, VIDEO_TASKS, Generation, GenerationRequest, GeneratorAdapter
from paragone.data.generators.media import pixels_of
from paragone.data.records import Prompt, Status, Task

WORDS = ("a red cube on a blue table", "two cats and a dog")
HOSTILE = ('{"prompt": "{seed}"}; $(touch x) `id` \'"\n--help', "Ünïcødé 画像 🎨 \u202e rtl", "x " * 3000)
PICTURE_PX = 64


class NonConforming(PluginError):
    """A generator that breaks a rule; `rule` is its name."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"rule {rule!r} is broken: {message}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Checked:
    """One rule that held, or that could not be looked at, with the reason."""

    rule: str
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What was checked of an adapter, in order."""

    name: str
    rules: tuple[Checked, ...]
    n_requests: int
    n_ok: int

    @property
    def skipped(self) -> tuple[Checked, ...]:
        """The rules that could not be looked at."""
        return tuple(checked for checked in self.rules if checked.skipped)


def check_generator(
    adapter: GeneratorAdapter,
    prompts: Sequence[str] = WORDS,
    *,
    hostile: bool = True,
    seeded: bool | None = None,
    tolerance: int = 0,
    requests: Sequence[GenerationRequest] | None = None,
) -> ConformanceReport:
    """Hold an adapter to the rules; raises `NonConforming` at the first one that it breaks.

    `seeded` says whether the same request must give the same pixels; by default the adapter's own word counts, and
    without one what it does. `tolerance` is the most by which pixels may differ then (of 255), for devices whose sums
    depend on the batch. `hostile=False` leaves out prompts made to be troublesome. For an adapter that knows only
    certain requests (`folder`), name two or more of them as `requests`.
    """
    with tempfile.TemporaryDirectory(prefix="paragone-") as folder:
        inspector = _Inspector(adapter, Path(folder), tolerance)
        inspector.members()
        asked = list(requests) if requests is not None else inspector.requests(prompts, seeds=(0, 1))
        return inspector.inspect(asked, hostile=hostile and requests is None, seeded=seeded)


class _Inspector:
    def __init__(self, adapter: GeneratorAdapter, folder: Path, tolerance: int) -> None:
        self._adapter, self._folder, self._tolerance = adapter, folder, tolerance
        self._n_requests = self._n_ok = 0
        self._rules: list[Checked] = []

    def members(self) -> None:
        adapter = self._adapter
        if not isinstance(adapter, GeneratorAdapter):
            raise NonConforming("members", f"{type(adapter).__name__} lacks name, task or generate(requests)")
        if not isinstance(adapter.name, str) or not adapter.name.strip() or not adapter.name.isprintable():
            raise NonConforming("members", f"its name is {adapter.name!r}, which is no printable text")
        if not isinstance(adapter.task, Task):
            raise NonConforming("members", f"its task is {adapter.task!r}, not a paragone.data.Task")
        self._held("members")

    def requests(self, words: Sequence[str], *, seeds: Sequence[int]) -> list[GenerationRequest]:
        source = mask = None
        if self._adapter.task in SOURCE_TASKS:
            source = self._folder / "source.png"
            Image.fromarray(_gradient()).save(source)
        if self._adapter.task is Task.IMAGE_EDITING:
            mask = self._folder / "mask.png"
            Image.fromarray(np.pad(np.full((32, 32), 255, np.uint8), 16)).save(mask)
        names = [None if path is None else path.name for path in (source, mask)]
        prompts = [
            Prompt(f"check-{n}", text, self._adapter.task, source=names[0], mask=names[1])
            for n, text in enumerate(words)
        ]
        return [GenerationRequest(prompt, seed, source, mask) for prompt in prompts for seed in seeds]

    def inspect(self, asked: Sequence[GenerationRequest], *, hostile: bool, seeded: bool | None) -> ConformanceReport:
        if list(self._raised_nothing([], "nothing")):
            raise NonConforming("nothing", "it answers although nothing was asked")
        self._held("nothing")
        fingerprint = getattr(self._adapter, "fingerprint", None)
        inputs = {path: file_digest(path) for request in asked for path in (request.source, request.mask) if path}
        answers = self._ask(asked)
        if hostile:
            for request in self.requests(HOSTILE, seeds=(0,)):
                self._ask([request])
        self._held("answers", "outcome", "pixels", "kind", "figures")
        for path, digest in inputs.items():
            if file_digest(path) != digest:
                raise NonConforming("inputs", f"{path.name} was changed")
        self._held("inputs", skipped="" if inputs else f"{self._adapter.task} has no input pictures")
        self._pairing(asked, answers, seeded)
        self._fingerprint(fingerprint)
        return ConformanceReport(self._adapter.name, tuple(self._rules), self._n_requests, self._n_ok)

    def _pairing(
        self,
        asked: Sequence[GenerationRequest],
        answers: dict[tuple[str, int], Generation],
        seeded: bool | None,
    ) -> None:
        rules = ("repeats", "seeds", "neighbours")
        pictures = {key: self._pixels(answer) for key, answer in answers.items() if answer.status is Status.OK}
        ok = [request for request in asked if request.key in pictures]
        claimed = getattr(self._adapter, "seeded", None) if seeded is None else seeded
        if len(ok) < 2 or claimed is False:
            why = "it is not seeded" if claimed is False else f"{len(ok)} of {len(asked)} requests were ok"
            self._held(*rules, skipped=why)
            return
        again = self._ask(ok[:1])[ok[0].key]
        if again.status is not Status.OK or not self._same(pictures[ok[0].key], self._pixels(again)):
            if claimed is None:
                self._held(*rules, skipped="the same request gave something else: it is not seeded")
                return
            raise NonConforming("repeats", f"{_called(ok[0])} gave other pixels the second time")
        self._held("repeats")
        self._seeds(ok, pictures)
        alone = self._ask(list(reversed(ok)))
        for request in ok:
            answer = alone[request.key]
            if answer.status is not Status.OK or not self._same(pictures[request.key], self._pixels(answer)):
                raise NonConforming("neighbours", f"{_called(request)} gives other pixels in another order of requests")
        self._held("neighbours")

    def _seeds(self, ok: Sequence[GenerationRequest], pictures: dict[tuple[str, int], NDArray[np.uint8]]) -> None:
        by_prompt: dict[str, list[GenerationRequest]] = {}
        for request in ok:
            by_prompt.setdefault(request.prompt.id, []).append(request)
        couples = [requests[:2] for requests in by_prompt.values() if len(requests) > 1]
        if couples and all(np.array_equal(pictures[a.key], pictures[b.key]) for a, b in couples):
            raise NonConforming("seeds", "every seed gives the same pixels; if that is meant, say seeded = False")
        self._held("seeds", skipped="" if couples else "no prompt with two seeds")

    def _fingerprint(self, before: object) -> None:
        after = getattr(self._adapter, "fingerprint", None)
        if before is not None and (not isinstance(before, str) or before != after):
            raise NonConforming("fingerprint", f"it was {before!r} and is {after!r} after generating")
        self._held("fingerprint", skipped="" if before is not None else "it has none")

    def _ask(self, requests: Sequence[GenerationRequest]) -> dict[tuple[str, int], Generation]:
        self._n_requests += len(requests)
        answers: dict[tuple[str, int], Generation] = {}
        for generation in self._raised_nothing(requests, "answers"):
            key = generation.request.key
            if key in answers or key not in {request.key for request in requests}:
                raise NonConforming("answers", f"{_called(generation.request)} was answered twice or unasked")
            answers[key] = generation
            self._outcome(generation)
            self._n_ok += generation.status is Status.OK
        for request in requests:
            if request.key not in answers:
                raise NonConforming("answers", f"{_called(request)} got no answer; a status is expected for each")
        return answers

    def _raised_nothing(self, requests: Sequence[GenerationRequest], rule: str) -> Iterator[Generation]:
        try:
            yield from self._adapter.generate(requests)
        except ParagoneError:
            raise  # such as a service that cannot be reached: for the user, not for the adapter's author
        except Exception as error:
            which = _called(requests[0]) if requests else "no requests"
            raise NonConforming(rule, f"{which}: generate raised {type(error).__name__}: {error}") from error

    def _outcome(self, generation: Generation) -> None:
        name = _called(generation.request)
        given = [part for part in (generation.image, generation.clip, generation.file) if part is not None]
        if not isinstance(generation.status, Status):
            raise NonConforming("outcome", f"{name}: the status is {generation.status!r}, not a paragone.data.Status")
        if generation.status is not Status.OK:
            if given or not generation.message:
                raise NonConforming("outcome", f"{name}: {generation.status} wants a message and no picture")
        elif len(given) != 1:
            raise NonConforming("outcome", f"{name}: ok wants exactly one image, clip or file, not {len(given)}")
        else:
            self._check_pixels(generation, name)
        self._check_figures(generation, name)

    def _check_pixels(self, generation: Generation, name: str) -> None:
        moving = generation.clip is not None or (generation.file is not None and generation.file.frames is not None)
        if moving != (self._adapter.task in VIDEO_TASKS):
            raise NonConforming("kind", f"{name}: a {'clip' if moving else 'still'} for {self._adapter.task}")
        if generation.file is not None:
            pixels_of(generation.file, name)
            return
        array: object = generation.clip if generation.clip is not None else generation.image
        if not isinstance(array, np.ndarray) or not _is_picture(array, moving=moving):
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise NonConforming("pixels", f"{name}: {found} is not uint8 with channels last")
        if moving and not (generation.fps and 0 < generation.fps < math.inf):
            raise NonConforming("pixels", f"{name}: a clip with {generation.fps} frames a second")

    def _check_figures(self, generation: Generation, name: str) -> None:
        latency, cost = generation.latency_s, generation.cost_usd
        if latency is not None and not (isinstance(latency, (int, float)) and 0 <= latency < math.inf):
            raise NonConforming("figures", f"{name}: latency_s is {latency!r}")
        if cost is not None and not (isinstance(cost, Decimal) and cost.is_finite() and cost >= 0):
            raise NonConforming("figures", f"{name}: cost_usd is {cost!r}, not a Decimal of 0 or more")
        try:
            json.dumps(dict(generation.details), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise NonConforming("figures", f"{name}: details do not fit into JSON: {error}") from error

    def _pixels(self, generation: Generation) -> NDArray[np.uint8]:
        if generation.file is not None:
            return pixels_of(generation.file, _called(generation.request))
        pixels = generation.image if generation.clip is None else generation.clip
        assert pixels is not None  # _outcome saw to it
        return pixels

    def _same(self, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
        if one.shape != other.shape:
            return False
        return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max()) <= self._tolerance

    def _held(self, *rules: str, skipped: str = "") -> None:
        self._rules += [Checked(rule, skipped) for rule in rules]


def _called(request: GenerationRequest) -> str:
    return f"prompt {request.prompt.text[:40]!r}, seed {request.seed}"


def _is_picture(array: NDArray[Any], *, moving: bool) -> bool:
    if array.dtype != np.uint8 or array.size == 0 or array.ndim not in ((4,) if moving else (2, 3)):
        return False
    return array.ndim == 2 or array.shape[-1] == 3


def _gradient() -> NDArray[np.uint8]:
    """Red from left to right, green from top to bottom."""
    ramp = np.linspace(0, 255, PICTURE_PX).astype(np.uint8)
    red, green = np.meshgrid(ramp, ramp)
    return np.stack([red, green, np.full_like(red, 128)], axis=-1)
