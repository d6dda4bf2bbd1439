"""LPIPS, a distance of pictures as people see them (Zhang et al. 2018, arXiv:1801.03924), version 0.1, from files.

A network for classes is read at five layers; each layer's activations are scaled to unit length over channels, their
squared differences weighed by channel with factors fitted to people's choices, averaged over places and summed. The
backbone is torchvision's AlexNet or VGG-16. Its file and that of the factors are named by the user: a state dict of
torchvision beside the `alex.pth` or `vgg.pth` of the package `lpips`, or one file with all of `lpips.LPIPS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paragone.data.errors import InputError, MissingWeights
from paragone.data.files import file_digest
from paragone.metrics.extractors.state import fill, read_state

SMALLEST_PX = 64
EXPECTED = "the backbone or the factors of LPIPS"


@dataclass(frozen=True, slots=True)
class _Backbone:
    """Where a network is read: `layers` of its `features`, each with so many `channels`."""

    name: str
    layers: tuple[int, ...]
    channels: tuple[int, ...]
    kernel_px: int  # of its first layer, by which its weights are known


BACKBONES = (
    _Backbone("alexnet", (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 11),
    _Backbone("vgg16", (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 3),
)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in -1..1
FEATURE = re.compile(r"(?:net\.slice\d\.|features\.)(\d+)\.(weight|bias)")
FACTORS = re.compile(r"lin(\d)\.model\.[01]\.weight")


def load_lpips(files: Sequence[Path]) -> Lpips:
    """LPIPS from one or more files, which are told apart by what is in them.

    Raises `MissingWeights` for a file that is not there, or when backbone or factors are in none of them, and
    `InputError` for a file of something else.
    """
    features: dict[str, Tensor] = {}
    factors: dict[int, Tensor] = {}
    for path in files:
        if not path.is_file():
            raise MissingWeights(f"lpips: no such file: {path}; name the backbone and the factors with --lpips FILE")
        found = read_state(path, expected=EXPECTED)
        known = 0
        for name, value in found.items():
            if match := FEATURE.fullmatch(name):
                features[f"{match[1]}.{match[2]}"] = value
                known += 1
            elif match := FACTORS.fullmatch(name):
                factors[int(match[1])] = value.flatten()
                known += 1
        if not known:
            raise InputError(f"{path}: not {EXPECTED}: none of its tensors has a name of theirs")
    named = ", ".join(map(str, files))
    first = features.get("0.weight")
    if first is None:
        raise MissingWeights(f"lpips: no backbone in {named}; name a state dict of torchvision's AlexNet or VGG-16 too")
    backbone = next((one for one in BACKBONES if first.shape == (64, 3, one.kernel_px, one.kernel_px)), None)
    if backbone is None:
        raise InputError(f"lpips: the backbone in {named} is neither AlexNet nor VGG-16")
    if not factors:
        raise MissingWeights(f"lpips: no factors in {named}; name the package's alex.pth or vgg.pth too")
    sizes = tuple(len(factors[place]) for place in sorted(factors))
    if sizes != backbone.channels:
        raise InputError(f"lpips: the factors in {named} are not those of {backbone.name}, whose file is there")
    digest = hashlib.sha256("".join(file_digest(path) for path in files).encode()).hexdigest()
    return Lpips(backbone, features, [factors[place] for place in sorted(factors)], named, digest)


class Lpips:
    """The distance, on pictures of one size. `name` has the digest of the files."""

    def __init__(
        self, backbone: _Backbone, features: dict[str, Tensor], factors: list[Tensor], named: str, digest: str
    ) -> None:
        import torchvision

        with torch.device("meta"):  # its classifier is not wanted, and large
            network = getattr(torchvision.models, backbone.name)(weights=None).features
        fill(network, features, Path(named), expected=f"the whole backbone of {backbone.name}", assign=True)
        self.name = f"lpips-{backbone.name}@{digest[:12]}"
        self._layers = backbone.layers
        self._network: Any = network[: backbone.layers[-1] + 1].float().eval().requires_grad_(False)
        self._factors = [factor.float()[:, None, None] for factor in factors]
        self._shift, self._scale = torch.tensor(SHIFT)[:, None, None], torch.tensor(SCALE)[:, None, None]

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)
        self._factors = [factor.to(device) for factor in self._factors]
        self._shift, self._scale = self._shift.to(device), self._scale.to(device)

    def distance(self, one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
        """LPIPS of two RGB pictures [H, W, 3]; 0 for equal ones. Both sides at least 64 px."""
        if one.shape != two.shape:
            raise InputError(f"lpips: pictures {one.shape} and {two.shape} are not of one size")
        if min(one.shape[:2]) < SMALLEST_PX:
            raise InputError(f"lpips needs pictures of at least {SMALLEST_PX}×{SMALLEST_PX} px")
        with torch.inference_mode():
            return float(self.of_batch(self._input(one), self._input(two)))

    def of_batch(self, one: Tensor, two: Tensor) -> Tensor:
        """LPIPS [N] of float pictures [N, 3, H, W] in -1..1."""
        total = torch.zeros(len(one), device=one.device)
        pairs = zip(self._activations(one), self._activations(two), self._factors, strict=True)
        for mine, other, factors in pairs:
            squared = (_unit(mine) - _unit(other)).square()
            total = total + (squared * factors).sum(1).mean((1, 2))
        return total

    def _input(self, picture: NDArray[np.uint8]) -> Tensor:
        planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).to(self._shift.device)
        return planes[None].float() / 127.5 - 1

    def _activations(self, batch: Tensor) -> list[Tensor]:
        value, found = (batch - self._shift) / self._scale, []
        for place, layer in enumerate(self._network):
            value = layer(value)
            if place in self._layers:
                found.append(value.clone())
        return found


def _unit(activations: Tensor) -> Tensor:
    """Unit length over channels; the package's ε is kept."""
    return activations / (activations.square().sum(1, keepdim=True).sqrt() + 1e-10)
