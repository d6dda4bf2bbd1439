"""What a feature extractor is, and the one way in which ours resize."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from paragone.data.errors import UsageError

PARAGONE_PROTOCOL = "paragone"


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


class LoadExtractor(Protocol):
    """How an extractor is made: a row of the table leads to such a function."""

    def __call__(self, *, weights: Path | None, protocol: str) -> FeatureExtractor: ...


def to_planes(image: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 [H, W, 3] → float32 [3, H, W] in 0..255."""
    return torch.from_numpy(image).permute(2, 0, 1).float()


def resize_clean(planes: Tensor, size: int) -> Tensor:
    """[C, H, W] in 0..255 → [C, size, size] by antialiased bicubic interpolation in floating point, clamped, unrounded.

    This is the resizing of clean-fid (Parmar, Zhang & Zhu 2022, arXiv:2104.11222). The aspect ratio is not kept.
    """
    if planes.shape[-2:] == (size, size):
        return planes
    resized = functional.interpolate(planes[None], (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(0.0, 255.0)


def canonical_protocol(protocol: str, known: dict[str, str], *, extractor: str) -> str:
    """The protocol that `protocol` names, after aliases; raises `UsageError` when the extractor has no such one."""
    if protocol not in known:
        raise UsageError(f"protocol {protocol!r}: the extractor {extractor} knows {', '.join(known)}")
    return known[protocol]


def refuse_weights(weights: Path | None, *, extractor: str) -> None:
    """Raise `UsageError` when a file of weights is given to an extractor that has none."""
    if weights is not None:
        raise UsageError(f"--weights {weights}: the extractor {extractor} has no weights; leave the option out")
