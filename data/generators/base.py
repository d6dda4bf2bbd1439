"""What a generator is to paragone: a name, a task, and `generate(requests)`.

There is no base class to inherit: any object with these members is a `GeneratorAdapter`. An adapter never decides
names of files; `write_samples` and `Run` (paragone.data.generators.runner, .running) do, so that every model takes the
same path to disk. `paragone.data.generators.conformance` says what is expected of one, rule by rule.

An adapter may say more of itself:

    fingerprint   str    names the weights behind it; its settings are known to who made it
    at_once       int    how many calls of `generate` it takes at a time from several threads (else 1)
    batch         int    how many requests it likes in one call (else 1)
    remote        bool   the work is done on somebody else's machine, so that several requests at once are usual
    seeded        bool   the same request gives the same pixels again
    reports_cost  bool   every answer says what it cost
    keep_going    bool   failures in a row say nothing of the next request
    incidental    names of settings that have no part in what the pictures look like
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paragone.data.records import Prompt, Status, Task

VIDEO_TASKS = frozenset({Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO})  # answered with clips; the others with stills
SOURCE_TASKS = frozenset({Task.IMAGE_EDITING, Task.IMAGE_TO_VIDEO})  # start from an input picture


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sample to make. Generators that honour `seed` are *paired*: same prompt and seed, comparable samples."""

    prompt: Prompt
    seed: int
    source: Path | None = None  # the input picture, where the task has one
    mask: Path | None = None  # grey, as large as the source; white may change

    @property
    def key(self) -> tuple[str, int]:
        """What was asked: prompt and seed."""
        return self.prompt.id, self.seed


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A picture or clip as a service delivered it; it is kept byte for byte. `media.delivered` makes one."""

    content: bytes
    suffix: str  # of the file's name, with its dot, by what the content is
    width: int  # px, as displayed
    height: int  # px
    frames: int | None = None  # None for a still
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to one request: exactly one of `image`, `clip` and `file` when `status` is ok, else a `message`."""

    request: GenerationRequest
    image: NDArray[np.uint8] | None = None  # [H, W] grey or [H, W, 3] RGB
    status: Status = Status.OK
    message: str = ""
    latency_s: float | None = None
    cost_usd: Decimal | None = None  # what the service says that it charged
    clip: NDArray[np.uint8] | None = None  # [T, H, W, 3] RGB, with `fps`
    fps: float | None = None  # frames a second
    file: MediaFile | None = None  # what came encoded already
    revised_prompt: str | None = None  # what the service made of the prompt
    model_served: str | None = None  # the model that answered, in the service's words
    details: Mapping[str, Any] = field(default_factory=dict)  # what else is worth keeping: what JSON can hold


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
