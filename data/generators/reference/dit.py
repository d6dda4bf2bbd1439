"""A diffusion transformer with adaLN-zero (Peebles & Xie 2023, arXiv:2212.09748, section 3.2).

The picture is cut into 2×2 patches, which attend to each other. Time and class enter through the layer norms alone:
each block computes from them a shift, a scale and a gate for its attention and for its MLP,

    h ← h + gate · attention((1 + scale) · norm(h) + shift),    and the same for the MLP.

The layers that compute them start at zero, so every block starts as the identity and the network as zero; training
opens the gates. The class takes a network's arguments (network.py) and stands in any model for the MLP: `build=DiT`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.digits import SIZE_PX
from paragone.data.generators.reference.conditioning import Conditioning

PATCH_PX = 2
N_PATCHES = (SIZE_PX // PATCH_PX) ** 2


class Block(nn.Module):
    """Tokens [N, L, width] and condition [N, width] → [N, L, width]; the identity until trained."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = zero(nn.Linear(width, 6 * width))

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        modulation = self.modulation(functional.silu(condition))[:, None].chunk(6, dim=-1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation
        tokens = tokens + gate * self.attend((1.0 + scale) * self.norm(tokens) + shift)
        out: Tensor = tokens + mlp_gate * self.mlp((1.0 + mlp_scale) * self.norm(tokens) + mlp_shift)
        return out

    def attend(self, tokens: Tensor) -> Tensor:
        """Every token looks at all, with several heads."""
        n, length, width = tokens.shape
        heads = self.queries_keys_values(tokens).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads.unbind(0))
        mixed: Tensor = self.mix(seen.transpose(1, 2).reshape(n, length, width))
        return mixed


class DiT(nn.Module):
    """x [N, 64], time [N] in 0..1, class [N] in 0..10 → [N, 64], over 16 patches."""

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.condition = Conditioning(width)
        self.enter = nn.Linear(PATCH_PX**2, width)
        self.place = nn.Parameter(0.1 * torch.randn(N_PATCHES, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.leave = zero(nn.Linear(width, PATCH_PX**2))

    def forward(self, x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        condition = self.condition(time, digit)
        tokens = self.enter(to_patches(x)) + self.place
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.modulation(functional.silu(condition))[:, None].chunk(2, dim=-1)
        return from_patches(self.leave((1.0 + scale) * self.norm(tokens) + shift))


def zero(layer: nn.Linear) -> nn.Linear:
    """The layer with all its weights at 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def to_patches(x: Tensor) -> Tensor:
    """[N, 64] → [N, 16, 4]: the 2×2 patches, row by row."""
    side = SIZE_PX // PATCH_PX
    grid = x.reshape(-1, side, PATCH_PX, side, PATCH_PX).transpose(2, 3)
    return grid.reshape(-1, N_PATCHES, PATCH_PX**2)


def from_patches(patches: Tensor) -> Tensor:
    """[N, 16, 4] → [N, 64]."""
    side = SIZE_PX // PATCH_PX
    grid = patches.reshape(-1, side, side, PATCH_PX, PATCH_PX).transpose(2, 3)
    return grid.reshape(-1, SIZE_PX * SIZE_PX)
