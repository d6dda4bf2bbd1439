"""The Inception v3 of FID: the TensorFlow graph of 2015-12-05 in torch (Heusel et al. 2017, arXiv:1706.08500, §3).

The network (Szegedy et al. 2016, arXiv:1512.00567) differs from torchvision's `inception_v3` in its 1008 classes, in
average pooling that does not count the padding, in max pooling in the last block, and in having no auxiliary head.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import Inception3
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionC, InceptionE

from paragone.metrics.extractors.inception import N_LOGITS, SFID_CHANNELS


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


def made_fast(network: InceptionNetwork) -> InceptionNetwork:
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
