"""The Inception v3 of FID: the TensorFlow graph of 2015-12-05 in torch (Heusel et al. 2017, arXiv:1706.08500, §3).

The network (Szegedy et al. 2016, arXiv:1512.00567) differs from torchvision's `inception_v3` in its 1008 classes, in
average pooling that does not count the padding, in max pooling in the last block, and in having no auxiliary head.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.models import Inception3
from torchvision.models.inception import InceptionA, InceptionC, InceptionE

from paragone.data.errors import InputError
from paragone.metrics.extractors.base import (
    PARAGONE_PROTOCOL,
    canonical_protocol,
    resize_clean,
    to_planes,
)
from paragone.metrics.weights import INCEPTION, find_weights

SIZE_PX = 299
DIM = 2048
N_LOGITS = 1008
PYTORCH_FID_PROTOCOL = "pytorch-fid"
# clean-fid resizes and normalises as we do: another name for the same computation.
PROTOCOLS = {
    PARAGONE_PROTOCOL: PARAGONE_PROTOCOL,
    "clean-fid": PARAGONE_PROTOCOL,
    PYTORCH_FID_PROTOCOL: PYTORCH_FID_PROTOCOL,
}


def load(*, weights: Path | None, protocol: str) -> Inception:
    """The extractor `inception`; raises `MissingWeights` when its file is not on this machine."""
    chosen = canonical_protocol(protocol, PROTOCOLS, extractor="inception")
    found = find_weights(INCEPTION, weights)
    network = InceptionNetwork()
    _load_weights(network, found.path)
    if found.known:
        return Inception(network, name=INCEPTION.name, fingerprint=found.sha256, protocol=chosen)
    return Inception(
        network,
        name=f"inception@{found.sha256[:12]}",
        fingerprint=found.sha256,
        protocol=chosen,
        warnings=(
            f"{found.path}: its sha256 is {found.sha256}, which is not that of {INCEPTION.file_name}: results bear the "
            "digest and are no FID",
        ),
    )


class Inception:
    """2048 features of the last pooling layer and 1008 logits without bias, as the Inception Score takes them.

    Protocol `paragone` (also called `clean-fid`): antialiased bicubic resizing to 299, then (v - 128) / 128.
    Protocol `pytorch-fid`: bilinear resizing without antialiasing, then (v - 127.5) / 127.5.
    """

    dim = DIM
    has_logits = True

    def __init__(
        self,
        network: InceptionNetwork,
        *,
        name: str,
        fingerprint: str,
        protocol: str,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.warnings = warnings
        self.fingerprint = fingerprint
        self.protocol = protocol
        self.resize = f"{'bilinear' if protocol == PYTORCH_FID_PROTOCOL else 'clean'}-{SIZE_PX}"
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, 299, 299], normalised."""
        planes = to_planes(image)
        if self.protocol == PYTORCH_FID_PROTOCOL:
            scaled = functional.interpolate(
                planes[None] / 255, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False
            )
            return 2 * scaled[0] - 1
        return (resize_clean(planes, SIZE_PX) - 128) / 128

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, 299, 299] → features [N, 2048] and logits [N, 1008]."""
        features, logits = self._network.features_and_logits(batch.contiguous(memory_format=torch.channels_last))
        return features, logits


class InceptionNetwork(Inception3):  # type: ignore[misc]
    """torchvision's network with the blocks of the 2015 graph; its state dict has torchvision's names."""

    def __init__(self) -> None:
        super().__init__(num_classes=N_LOGITS, aux_logits=False, transform_input=False, init_weights=False)
        self.Mixed_5b = _BlockA(192, pool_features=32)
        self.Mixed_5c = _BlockA(256, pool_features=64)
        self.Mixed_5d = _BlockA(288, pool_features=64)
        self.Mixed_6b = _BlockC(768, channels_7x7=128)
        self.Mixed_6c = _BlockC(768, channels_7x7=160)
        self.Mixed_6d = _BlockC(768, channels_7x7=160)
        self.Mixed_6e = _BlockC(768, channels_7x7=192)
        self.Mixed_7b = _BlockE(1280)
        self.Mixed_7c = _LastBlock(2048)

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [N, 3, 299, 299] → pooled features [N, 2048], logits without bias [N, 1008]."""
        hidden = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images))))
        hidden = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(hidden)))
        hidden = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(hidden)))
        hidden = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(hidden)))))
        hidden = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(hidden)))
        features = hidden.mean(dim=(2, 3))
        return features, features @ self.fc.weight.T


def _pooled(x: Tensor) -> Tensor:
    """3×3 average that does not count the zeros of the padding."""
    return functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class _BlockA(InceptionA):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_pooled(x))], 1)


class _BlockC(InceptionC):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_pooled(x))], 1)


class _BlockE(InceptionE):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pooled(x)),
        ]
        return torch.cat(branches, 1)

    def pooled(self, x: Tensor) -> Tensor:
        return _pooled(x)


class _LastBlock(_BlockE):
    """The graph has max pooling here, which looks like a slip of its authors but is what FID is defined by."""

    def pooled(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)


def _load_weights(network: InceptionNetwork, path: Path) -> None:
    """Fill `network` from a .pth state dict (no code in it is run) or a .safetensors file; raises `InputError`."""
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:  # the reader of a damaged file raises nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not the weights of the 2015-12-05 Inception network ({reason}); expected {INCEPTION.file_name}"
        ) from error
