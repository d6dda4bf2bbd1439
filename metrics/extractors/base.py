"""What a feature extractor is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class FeatureExtractor(Protocol):
    """Image → vector. Preprocessing belongs to the extractor, so that images of mixed sizes can be batched.

    `name` says which function of the image this is, down to the weights' digest or the formula's version: features
    under one `name` and one `protocol` may be compared. `prepare` is called from several threads.
    """

    name: str  # e.g. gist-1, inception-2015-12-05, digits@3f9a…
    protocol: str  # canonical name of the preprocessing, e.g. paragone
    resize: str  # the preprocessing in a word, for signatures, e.g. clean-299
    fingerprint: str  # sha256 of the weights, or the version of a formula; together with protocol the cache's key
    dim: int  # D
    has_logits: bool
    warnings: tuple[str, ...]  # what a reader of its numbers should know, one line each

    def prepare(self, image: NDArray[np.uint8], /) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [C, h, w], the same shape for every image."""
        ...

    def to(self, device: torch.device, /) -> None:
        """Move whatever has weights to `device`."""
        ...

    def __call__(self, batch: Tensor, /) -> tuple[Tensor, Tensor | None]:
        """Prepared images [N, C, h, w] → features [N, D] and, with `has_logits`, logits [N, K]."""
        ...


class FrameCount(NamedTuple):
    """How many frames a network takes: from `least` to `most` (None: any number), in multiples of `step`."""

    least: int = 1
    most: int | None = None
    step: int = 1


class ClipExtractor(Protocol):
    """Clip → vector: a `FeatureExtractor` of [T, H, W, 3] → [C, T, h, w], which says so and how many frames it takes.

    `samples` is "clips"; an extractor without that attribute is of pictures. With `one_at_a_time`, which may be
    missing, its clips are never batched, so that they may differ in size.
    """

    name: str
    protocol: str
    resize: str
    fingerprint: str
    dim: int
    has_logits: bool
    warnings: tuple[str, ...]
    samples: Literal["clips"]
    frames: FrameCount

    def prepare(self, frames: NDArray[np.uint8], /) -> Tensor:
        """RGB uint8 [T, H, W, 3] → float32 [C, T, h, w]."""
        ...

    def to(self, device: torch.device, /) -> None:
        """Move whatever has weights to `device`."""
        ...

    def __call__(self, batch: Tensor, /) -> tuple[Tensor, Tensor | None]:
        """Prepared clips [N, C, T, h, w] → features [N, D] and, with `has_logits`, logits [N, K]."""
        ...


class LoadExtractor(Protocol):
    """How an extractor is made: a row of the table leads to such a function."""

    def __call__(self, *, weights: Path | None, protocol: str) -> FeatureExtractor: ...


def refuse_weights(weights: Path | None, *, extractor: str) -> None:
    """Raise `UsageError` when a file of weights is given to an extractor that has none."""
    if weights is not None:
        raise UsageError(f"--weights {weights}: the extractor {extractor} has no weights; leave the option out")
