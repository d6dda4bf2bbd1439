"""Contestants of clips and edits to beware of: each is flawless by one measure and useless by another.

`Frozen` repeats the anchor frame: every frame is perfect, nothing moves. `Shuffled` shows another model's frames in
another order: measures of single frames cannot tell. `Unedited` returns the source: nothing outside the mask is harmed.
`MaskBlind` draws what the prompt asks for anew: a good digit, of which nothing is the source's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from paragone.data.digit_edits import edit_target
from paragone.data.digits import PROMPTS
from paragone.data.generators.base import Generation, GenerationRequest, GeneratorAdapter
from paragone.data.generators.reference.inpainting import read_edit
from paragone.data.generators.reference.video_flow import read_anchor, to_rgb
from paragone.data.moving_digits import FPS, N_FRAMES
from paragone.data.records import Task, fingerprint


class Frozen:
    """Answers with the source picture, 16 times."""

    task = Task.IMAGE_TO_VIDEO

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """A clip without motion for each request."""
        for request in requests:
            frame = read_anchor(request)
            yield Generation(request, clip=to_rgb(np.repeat(frame[None], N_FRAMES, axis=0)), fps=FPS)


class Shuffled:
    """Answers with the frames of `model`, all but the first in another order."""

    task = Task.IMAGE_TO_VIDEO

    def __init__(self, name: str, model: GeneratorAdapter) -> None:
        self.name = name
        self._model = model

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """The model's answers, each with an order of its own."""
        for answer in self._model.generate(requests):
            if answer.clip is None:
                yield answer
                continue
            order = np.random.default_rng(answer.request.seed).permutation(len(answer.clip) - 1)
            yield replace(answer, clip=np.concatenate([answer.clip[:1], answer.clip[1:][order]]))


class Unedited:
    """Answers with the source picture."""

    task = Task.IMAGE_EDITING

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """The picture as it was given."""
        for request in requests:
            yield Generation(request, read_edit(request)[0])


class MaskBlind:
    """Lets `model`, which knows prompts only, draw the digit that the edit asks for."""

    task = Task.IMAGE_EDITING

    def __init__(self, name: str, model: GeneratorAdapter) -> None:
        self.name = name
        self._model = model

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """A new digit for each request, which depends on the request alone."""
        asked: dict[tuple[str, int], GenerationRequest] = {}
        for request in requests:
            prompt = PROMPTS[edit_target(request.prompt)]
            seed = int(fingerprint([request.prompt.id, request.seed])[:12], 16)  # requests for one digit get several
            asked[prompt.id, seed] = request
        prompts = {prompt.id: prompt for prompt in PROMPTS}
        for answer in self._model.generate([GenerationRequest(prompts[key], seed) for key, seed in asked]):
            yield replace(answer, request=asked[answer.request.key])
