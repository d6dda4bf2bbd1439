"""The Inception v3 of FID: the TensorFlow graph of 2015-12-05 in torch (Heusel et al. 2017, arXiv:1706.08500, §3).

The network (Szegedy et al. 2016, arXiv:1512.00567) differs from torchvision's `inception_v3` in its 1008 classes, in
average pooling that does not count the padding, in max pooling in the last block, and in having no auxiliary head.
"""

from __future__ import annotations

import copy
import difflib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import Inception3
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionC, InceptionE

from paragone.data.errors import UsageError
from paragone.metrics.extractors.resize import RESIZERS, normalised
from paragone.metrics.extractors.state import fill, read_state
from paragone.metrics.protocols import INCEPTION_PROTOCOLS, Protocol, protocol_named
from paragone.metrics.weights import INCEPTION, find_weights

SIZE_PX = 299
N_LOGITS = 1008
POOL = "2048"
SFID_CHANNELS = 7
# Names as torch-fidelity has them, and their widths. `sfid` is the spatial layer of sFID (Nash et al. 2021,
# arXiv:2103.03841) as guided-diffusion takes it: the first 7 channels of mixed_6's 1×1 branch, row by row.
LAYERS = {
    "64": 64,
    "192": 192,
    "768": 768,
    "sfid": 17 * 17 * SFID_CHANNELS,
    POOL: 2048,
    "logits_unbiased": N_LOGITS,
    "logits": N_LOGITS,
}
EXPECTED = f"the weights of the 2015-12-05 Inception network, {INCEPTION.file_name}"


def load(*, weights: Path | None, protocol: str, variant: str = POOL) -> Inception:
    """The extractor `inception`, or `inception:LAYER` for the layer `variant`.

    Raises `UsageError` for an unknown layer or protocol and `MissingWeights` when its file is not on this machine.
    """
    if variant not in LAYERS:
        close = difflib.get_close_matches(variant.lower(), LAYERS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"inception:{variant}: no such layer; {hint}it has {', '.join(LAYERS)}")
    chosen = protocol_named(protocol, INCEPTION_PROTOCOLS, extractor="inception")
    found = find_weights(INCEPTION, weights)
    with torch.device("meta"):  # its random weights would only be thrown away
        network = InceptionNetwork()
    fill(network, read_state(found.path, expected=EXPECTED), found.path, expected=EXPECTED, assign=True)
    suffix = "" if variant == POOL else f":{variant}"
    if found.known:
        return Inception(
            network, name=f"{INCEPTION.name}{suffix}", fingerprint=found.sha256, protocol=chosen, layer=variant
        )
    return Inception(
        network,
        name=f"inception@{found.sha256[:12]}{suffix}",
        fingerprint=found.sha256,
        protocol=chosen,
        layer=variant,
        warnings=(
            f"{found.path}: its sha256 is {found.sha256}, which is not that of {INCEPTION.file_name}: results bear the "
            "digest and are no FID",
        ),
    )


class Inception:
    """One layer's activations, averaged over the picture but for `sfid`; by default 2048 of the last pooling layer.

    From layer 2048 on there are also the 1008 logits without bias, as the Inception Score takes them.
    """

    def __init__(
        self,
        network: InceptionNetwork,
        *,
        name: str,
        fingerprint: str,
        protocol: Protocol = INCEPTION_PROTOCOLS[0],
        layer: str = POOL,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.warnings = warnings
        self.fingerprint = fingerprint
        self.protocol = protocol.name
        self.pixels = protocol
        self.resize = f"{protocol.resize}-{SIZE_PX}"
        self.dim = LAYERS[layer]
        self.has_logits = self.dim in (LAYERS[POOL], N_LOGITS)
        self._layer = layer
        self._resize = RESIZERS[protocol.resize]
        self._plain = network
        self._device = torch.device("cpu")

    @cached_property
    def _network(self) -> InceptionNetwork:
        """Made when the first batch comes: a run whose features are all cached never needs it."""
        fast: InceptionNetwork = _made_fast(self._plain).to(self._device)
        return fast

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._device = device
        self.__dict__.pop("_network", None)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, 299, 299], normalised."""
        return normalised(self._resize(image, SIZE_PX), self.pixels.mean, self.pixels.std)

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, 3, 299, 299] → features [N, D] and, from the pooling layer on, logits [N, 1008]."""
        images = batch.contiguous(memory_format=torch.channels_last)
        if not self.has_logits:
            return self._network.activations(images, self._layer), None
        pooled = self._network.activations(images, POOL)
        logits = pooled @ self._network.fc.weight.T
        if self._layer == POOL:
            return pooled, logits
        return (logits + self._network.fc.bias if self._layer == "logits" else logits), logits


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

    def activations(self, images: Tensor, layer: str) -> Tensor:
        """Normalised images [N, 3, 299, 299] → [N, D] of a layer before the logits; goes no further than needed."""
        hidden = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images))))
        if layer == "64":
            return _averaged(hidden)
        hidden = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(hidden)))
        if layer == "192":
            return _averaged(hidden)
        hidden = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(hidden)))
        hidden = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(hidden)))
        if layer == "sfid":
            # Rows, columns, channels: TensorFlow's order, in which published statistics (mu_s, sigma_s) are.
            branch: Tensor = self.Mixed_6d.branch1x1(hidden)
            return branch[:, :SFID_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        hidden = self.Mixed_6e(self.Mixed_6d(hidden))
        if layer == "768":
            return _averaged(hidden)
        return _averaged(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(hidden))))


def _averaged(maps: Tensor) -> Tensor:
    """[N, C, H, W] → [N, C]."""
    return maps.mean(dim=(2, 3))


def _made_fast(network: InceptionNetwork) -> InceptionNetwork:
    """A copy with its batch norms folded into the convolutions, and channels last in memory.

    On one CPU thread this takes 0.6 of the time; features move by 1e-6 of their size.
    """
    fast = copy.deepcopy(network)
    fast.eval().requires_grad_(False).float()
    for layer in fast.modules():
        if isinstance(layer, BasicConv2d):
            layer.conv, layer.bn = fuse_conv_bn_eval(layer.conv, layer.bn), nn.Identity()
    fast.to(memory_format=torch.channels_last)
    return fast


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
