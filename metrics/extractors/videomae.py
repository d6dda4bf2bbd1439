"""VideoMAE as an extractor: self-supervised features, which see motion better than I3D's (Ge et al. 2024, CVPR,
arXiv:2404.12391), from the authors' file of VideoMAE v2 or from a folder of transformers' VideoMAE.

Two metrics are called "VideoMAE FVD" elsewhere: cd-fvd's, of the giant network on pixels that are only divided by 255
(protocol `cd-videomae`), and others' of the base network with ImageNet's scale. They are told apart here by name.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from paragone.metrics.clip_protocols import VIDEOMAE_PROTOCOLS
from paragone.metrics.extractors.base import FrameCount
from paragone.metrics.protocols import Protocol, protocol_named
from paragone.metrics.weights import named_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIZE_PX = 224
FRAMES = 16
WANTED = "a file of VideoMAE v2 (vit_g_hybrid_pt_1200e_ssv2_ft.pth) or a model folder of transformers' VideoMAE"


def load(*, weights: Path | None, protocol: str) -> VideoMAE:
    """The extractor `videomae`; raises `MissingWeights`, `InputError` or `UsageError`."""
    chosen = protocol_named(protocol, VIDEOMAE_PROTOCOLS, extractor="videomae")
    if weights is not None and weights.is_dir():
        from paragone.metrics.extractors.model_folder import folder_digest

        digest = folder_digest(weights, extractor="videomae", wanted=WANTED)
        return VideoMAE(weights, name=f"videomae-folder@{digest[:12]}", fingerprint=digest, protocol=chosen)
    found = named_weights(weights, extractor="videomae", wanted=WANTED, instead="gist3d")
    return VideoMAE(found.path, name=f"videomae@{found.sha256[:12]}", fingerprint=found.sha256, protocol=chosen)


class VideoMAE:
    """The mean of all tokens, of the authors' file behind its last norm. The network is read when it is made."""

    samples: Literal["clips"] = "clips"
    has_logits = False
    warnings: tuple[str, ...] = ()

    def __init__(self, path: Path, *, name: str, fingerprint: str, protocol: Protocol) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.protocol = protocol.name
        self.pixels = protocol
        self._path = path
        if path.is_dir():
            config = self._network.config
            self.size, frames, self.dim = config.image_size, config.num_frames, config.hidden_size
        else:
            self.size, frames, self.dim = SIZE_PX, FRAMES, self._network.width
        self.frames = FrameCount(frames, frames)
        self.resize = f"{protocol.resize}-{self.size}"

    @cached_property
    def _network(self) -> Any:
        if self._path.is_dir():
            from paragone.metrics.extractors.model_folder import read_folder

            return read_folder(self._path, "VideoMAEModel")
        from paragone.metrics.extractors.state import read_state
        from paragone.metrics.extractors.videomae_network import EXPECTED, network_of

        return network_of(read_state(self._path, expected=EXPECTED), self._path, frames=FRAMES)

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)

    def prepare(self, frames: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [T, H, W, 3] → float32 [3, T, 224, 224]."""
        from paragone.metrics.extractors.clip_resize import prepared_clip

        return prepared_clip(frames, self.pixels.resize, self.size, self.pixels.mean, self.pixels.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, 16, 224, 224] → features [N, D]."""
        if self._path.is_dir():
            return self._network(pixel_values=batch.transpose(1, 2)).last_hidden_state.mean(1), None
        return self._network(batch), None
