"""What a generator is to paragone: a name, a task, and `generate(requests)`.

There is no base class to inherit: any object with these members is a `GeneratorAdapter`. An adapter never writes
files and never decides names; `write_samples` (paragone.data.generators.runner) does, so that every model takes the
same path to disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paragone.data.records import Prompt, Status, Task


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sample to make. Generators that honour `seed` are *paired*: same prompt and seed, comparable samples."""

    prompt: Prompt
    seed: int


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to one request: pixels when `status` is ok, otherwise the reason in `message`."""

    request: GenerationRequest
    image: NDArray[np.uint8] | None  # [H, W] grey or [H, W, 3] RGB
    status: Status = Status.OK
    message: str = ""
    latency_s: float | None = None
    cost_usd: Decimal | None = None


@runtime_checkable
class GeneratorAdapter(Protocol):
    """A model under evaluation."""

    @property
    def name(self) -> str:
        """The model's name on the leaderboard."""
        ...

    @property
    def task(self) -> Task:
        """What the model can be asked for."""
        ...

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Answer every request, in any order; the result for a request must not depend on its neighbours."""
        ...
