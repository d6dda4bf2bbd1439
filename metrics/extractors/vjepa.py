"""V-JEPA 2 as an extractor, from a folder of transformers: the features that JEDi's kernel distance is taken of (Luo et
al. 2024, arXiv:2410.05203, which used the first V-JEPA).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import UsageError
from paragone.metrics.clip_protocols import VJEPA_PROTOCOLS
from paragone.metrics.extractors.base import FrameCount
from paragone.metrics.protocols import Protocol, protocol_named

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CLASSES = {"mean": "VJEPA2Model", "pooler": "VJEPA2ForVideoClassification"}
DEFAULT = "mean"


def load(*, weights: Path | None, protocol: str, variant: str = DEFAULT) -> VJepa:
    """The extractor `vjepa` (mean of all tokens) or `vjepa:pooler` (the attentive pooler of a classifier's folder)."""
    if variant not in CLASSES:
        raise UsageError(f"vjepa:{variant}: no such features; there are {', '.join(CLASSES)}")
    chosen = protocol_named(protocol, VJEPA_PROTOCOLS, extractor="vjepa")
    from paragone.metrics.extractors.model_folder import folder_digest

    digest = folder_digest(weights, extractor="vjepa", wanted="a model folder of transformers' VJEPA2")
    assert weights is not None
    return VJepa(weights, variant, fingerprint=digest, protocol=chosen)


class VJepa:
    """The encoder's tokens, averaged or pooled."""

    samples: Literal["clips"] = "clips"
    has_logits = False
    warnings: tuple[str, ...] = ()

    def __init__(self, folder: Path, variant: str, *, fingerprint: str, protocol: Protocol) -> None:
        self.name = f"vjepa2@{fingerprint[:12]}" + ("" if variant == DEFAULT else f":{variant}")
        self.fingerprint = fingerprint
        self.protocol = protocol.name
        self.pixels = protocol
        self._folder, self._variant = folder, variant
        config = self._network.config
        self.size, self.dim = config.crop_size, config.hidden_size
        self.frames = FrameCount(config.tubelet_size, None, config.tubelet_size)
        self.resize = f"{protocol.resize}-{self.size}"

    @cached_property
    def _network(self) -> Any:
        from paragone.metrics.extractors.model_folder import read_folder

        return read_folder(self._folder, CLASSES[self._variant])

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)

    def prepare(self, frames: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [T, H, W, 3] → float32 [3, T, size, size]."""
        from paragone.metrics.extractors.clip_resize import prepared_clip

        return prepared_clip(frames, self.pixels.resize, self.size, self.pixels.mean, self.pixels.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, T, size, size] → features [N, D]."""
        given = batch.transpose(1, 2)
        if self._variant == DEFAULT:
            return self._network.get_vision_features(given).mean(1), None
        tokens = self._network.vjepa2.get_vision_features(given)
        return self._network.pooler(tokens), None
