"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193): features that follow human judgement of images more closely than
Inception's (Stein et al. 2023, arXiv:2306.04675). The Fréchet distance of them is known as FD-DINOv2.

The network is timm's, the weights are read from the authors' file, and the position embeddings of 37×37 patches are
brought to the 16×16 of a 224 px input in the way of the authors' code, which is not timm's: without antialiasing, and
with a scale that aims at 16.1 patches.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.errors import InputError, UsageError
from paragone.metrics.extractors.resize import RESIZERS, normalised
from paragone.metrics.extractors.state import fill, read_state
from paragone.metrics.protocols import DINOV2_PROTOCOLS, Protocol, protocol_named
from paragone.metrics.weights import DINOV2_LARGE, find_weights, named_weights

SIZE_PX = 224
PATCH_PX = 14
PATCHES = SIZE_PX // PATCH_PX
OFFSET = 0.1  # the authors add it to the number of patches before they divide
NAMES = {"small": "vits14", "base": "vitb14", "large": "vitl14", "giant": "vitg14"}
DEFAULT = "large"


def load(*, weights: Path | None, protocol: str, variant: str = DEFAULT) -> DinoV2:
    """The extractor `dinov2:VARIANT`, with the class token of the last layer; raises `MissingWeights` or `UsageError`.

    Only the digest of the large network's file is known; the files of the others have to be named.
    """
    if variant not in NAMES:
        raise UsageError(f"dinov2:{variant}: no such network; there are {', '.join(NAMES)}")
    chosen = protocol_named(protocol, DINOV2_PROTOCOLS, extractor="dinov2")
    if variant == DEFAULT:
        found = find_weights(DINOV2_LARGE, weights)
    else:
        found = named_weights(weights, extractor=f"dinov2:{variant}")
    expected = f"the weights of DINOv2 {NAMES[variant]} (dinov2_{NAMES[variant]}_pretrain.pth)"
    network = empty_network(variant)
    state = authors_state(read_state(found.path, expected=expected), found.path, expected=expected)
    fill(network, state, found.path, expected=expected, assign=True)
    name = DINOV2_LARGE.name if found.known else f"dinov2-{NAMES[variant]}@{found.sha256[:12]}"
    return DinoV2(network, name=name, fingerprint=found.sha256, protocol=chosen)


class DinoV2:
    """The normalised class token: 384, 768, 1024 or 1536 numbers of a picture squashed to 224×224 px."""

    has_logits = False

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        fingerprint: str,
        protocol: Protocol = DINOV2_PROTOCOLS[0],
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.protocol = protocol.name
        self.pixels = protocol
        self.resize = f"{protocol.resize}-{SIZE_PX}"
        self.dim = int(network.num_features)  # type: ignore[arg-type]
        self.warnings = warnings
        self._resize = RESIZERS[protocol.resize]
        self._network = network.float().eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, 224, 224], normalised with ImageNet's mean and deviation."""
        return normalised(self._resize(image, SIZE_PX), self.pixels.mean, self.pixels.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, 224, 224] → class tokens [N, D]."""
        return self._network(batch), None


def empty_network(variant: str) -> nn.Module:
    """The network as timm has it, without any numbers (on the meta device): `fill` with assign=True brings them."""
    with torch.device("meta"):
        network: nn.Module = timm.create_model(
            f"vit_{variant}_patch14_dinov2", pretrained=False, num_classes=0, img_size=SIZE_PX
        )
    return network


def authors_state(state: dict[str, Tensor], path: Path, *, expected: str) -> dict[str, Tensor]:
    """The authors' state dict in timm's names, for 224 px; one that has timm's names already stays as it is.

    The mask token, which only training uses, is left out. The giant network's gated layers are called w12 and w3.
    """
    if "pos_embed" not in state or state["pos_embed"].ndim != 3:
        raise InputError(f"{path}: not {expected} (no position embeddings called pos_embed)")
    renamed = {
        name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2."): value
        for name, value in state.items()
        if name != "mask_token"
    }
    renamed["pos_embed"] = positions_for(renamed["pos_embed"], PATCHES)
    return renamed


def positions_for(embeddings: Tensor, patches: int) -> Tensor:
    """[1, 1 + M², D] for M×M patches → [1, 1 + patches², D], as the authors interpolate; the class token's stays."""
    side = round((embeddings.shape[1] - 1) ** 0.5)
    if side == patches:
        return embeddings
    grid = embeddings[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (patches + OFFSET) / side
    resized = functional.interpolate(grid.float(), scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([embeddings[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2).to(embeddings.dtype)], dim=1)
