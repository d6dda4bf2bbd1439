"""Extractors and what they are given: those of pictures get pictures, those of clips get clips as long as they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import UsageError
from paragone.metrics.clip_protocols import check_frames, with_rule
from paragone.metrics.extractors.base import FrameCount

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from paragone.metrics.extractors.base import ClipExtractor, FeatureExtractor

CLIP_EXTRACTORS = ("gist3d", "i3d", "videomae", "vjepa")


class ForClips:
    """An extractor of clips under one rule of which frames it is shown; the rule stands in its protocol."""

    def __init__(self, extractor: ClipExtractor, rule: ClipRule) -> None:
        self.inner = extractor
        self.rule = rule
        self.name = extractor.name
        self.protocol = with_rule(extractor.protocol, rule)
        self.resize = extractor.resize
        self.fingerprint = extractor.fingerprint
        self.dim = extractor.dim
        self.has_logits = extractor.has_logits
        self.warnings = extractor.warnings
        self.one_at_a_time = bool(getattr(extractor, "one_at_a_time", False))

    def prepare(self, frames: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [T, H, W, 3] → float32 [C, T, h, w]."""
        return self.inner.prepare(frames)

    def to(self, device: torch.device) -> None:
        """Move whatever has weights to `device`."""
        self.inner.to(device)

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prepared clips [N, C, T, h, w] → features [N, D] and, with `has_logits`, logits [N, K]."""
        return self.inner(batch)


def suited(extractor: FeatureExtractor, features: str, rule: ClipRule | None) -> FeatureExtractor:
    """The extractor called `features` as it takes what is there: clips under `rule`, or pictures where that is None.

    Raises `UsageError` for an extractor of the other kind, or frames that it does not take.
    """
    of_clips = getattr(extractor, "samples", "pictures") == "clips"
    if rule is None:
        if of_clips:
            raise UsageError(
                f"--features {features} takes clips, and these are pictures; folders of frames are read as clips with "
                "--kind clips"
            )
        return extractor
    if not of_clips:
        raise UsageError(
            f"--features {features} takes pictures, and these are clips; use one of {', '.join(CLIP_EXTRACTORS)}, or "
            "write single frames as pictures"
        )
    frames: FrameCount = extractor.frames  # type: ignore[attr-defined]
    check_frames(rule, frames.least, frames.most, frames.step, extractor=features)
    return ForClips(extractor, rule)  # type: ignore[arg-type]
