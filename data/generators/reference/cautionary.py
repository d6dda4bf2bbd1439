"""Two contestants to beware of: one that remembers and one that forgets.

`Replay` answers with training images: distribution metrics love it, memorisation measures do not. `ModeDropping`
passes every prompt to another model but lets it draw only a few of the classes: each image looks fine, the set does
not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from paragone.data.digits import N_CLASSES, PROMPTS, Digits, prompt_class
from paragone.data.generators.base import Generation, GenerationRequest, GeneratorAdapter
from paragone.data.records import Task

SEEDS_PER_PROMPT = 1_000_000


class Replay:
    """Answers "a handwritten 7" with a 7 of the training set, going through them in a shuffled order."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, training: Digits) -> None:
        self.name = name
        self._decks = [np.random.default_rng(d).permutation(training.of_class(d)) for d in range(N_CLASSES)]

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """The seed-th card of the class's deck, starting over at its end."""
        for request in requests:
            deck = self._decks[prompt_class(request.prompt)]
            yield Generation(request, deck[request.seed % len(deck)])


class ModeDropping:
    """Asks `model` for one of the `covered` digits, whatever the prompt says."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, model: GeneratorAdapter, covered: Sequence[int]) -> None:
        self.name = name
        self._model = model
        self._covered = tuple(covered)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """The model's answer to the covered prompt, filed under the prompt that was asked."""
        substitutes = {self._substitute(request): request for request in requests}
        for answer in self._model.generate(list(substitutes)):
            yield replace(answer, request=substitutes[answer.request])

    def _substitute(self, request: GenerationRequest) -> GenerationRequest:
        digit = prompt_class(request.prompt)
        covered = digit if digit in self._covered else self._covered[digit % len(self._covered)]
        # Each prompt draws seeds of its own, or the prompts that share a digit would share their images as well.
        return GenerationRequest(PROMPTS[covered], seed=request.seed + SEEDS_PER_PROMPT * digit)
