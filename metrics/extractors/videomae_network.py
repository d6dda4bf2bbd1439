"""The plain vision transformer of VideoMAE v2 (Wang et al. 2023, arXiv:2303.16727), as its authors' files have it.

Cubes of 2 frames × P×P pixels, fixed sine-cosine positions, blocks with biases of queries and values but not of keys,
and a norm of the tokens' mean. Width, depth, patch and number of frames are read off the state dict.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.errors import InputError
from paragone.metrics.extractors.state import fill

SIZE_PX = 224
TUBELET = 2
EPS = 1e-6  # of the layer norms
HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}  # by width: small, base, large, huge, giant
EXPECTED = "the weights of a VideoMAE v2 network (vit_g_hybrid_pt_1200e_ssv2_ft.pth)"


class VideoMAENetwork(nn.Module):
    """[N, 3, T, 224, 224] → [N, D], the norm of the mean over all tokens."""

    def __init__(self, *, width: int, depth: int, hidden: int, patch: int, frames: int, heads: int) -> None:
        super().__init__()
        cube = (TUBELET, patch, patch)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, width, cube, cube)})
        self.blocks = nn.ModuleList(_Block(width, hidden, heads) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, eps=EPS)
        tokens = frames // TUBELET * (SIZE_PX // patch) ** 2
        self.register_buffer("positions", _positions(tokens, width), persistent=False)
        self.width = width

    def forward(self, clips: Tensor) -> Tensor:
        tokens = self.patch_embed["proj"](clips).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        found: Tensor = self.fc_norm(tokens.mean(1))
        return found


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.attn = _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        hidden = functional.gelu(self.mlp["fc1"](self.norm2(tokens)))
        found: Tensor = tokens + self.mlp["fc2"](hidden)
        return found


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        mixed = functional.linear(tokens, self.qkv.weight, bias).reshape(n, length, 3, self.heads, -1)
        queries, keys, values = mixed.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(queries, keys, values)
        found: Tensor = self.proj(seen.transpose(1, 2).reshape(n, length, width))
        return found


def _positions(tokens: int, width: int) -> Tensor:
    """[1, tokens, width]: sines and cosines, in float64 before they are stored (Vaswani et al. 2017)."""
    place = torch.arange(tokens, dtype=torch.float64)[:, None]
    turns = place / torch.pow(10000.0, 2 * (torch.arange(width, dtype=torch.float64) // 2) / width)
    turns[:, 0::2] = turns[:, 0::2].sin()
    turns[:, 1::2] = turns[:, 1::2].cos()
    return turns.float()[None]


def network_of(state: dict[str, Tensor], path: Path, *, frames: int) -> VideoMAENetwork:
    """The network that a state dict is of, filled; the classifier's head is left out. Raises `InputError`."""
    kept = {name: value for name, value in state.items() if not name.startswith("head.")}
    embedding = kept.get("patch_embed.proj.weight")
    first = kept.get("blocks.0.mlp.fc1.weight")
    if embedding is None or first is None or embedding.ndim != 5 or embedding.shape[2] != TUBELET:
        raise InputError(f"{path}: not {EXPECTED} (no cubes of {TUBELET} frames called patch_embed.proj)")
    width, patch = embedding.shape[0], embedding.shape[-1]
    if SIZE_PX % patch or width not in HEADS:
        raise InputError(f"{path}: not {EXPECTED} (width {width}, patches of {patch} px)")
    depth = 1 + max(int(name.split(".")[1]) for name in kept if name.startswith("blocks."))
    heads, hidden = HEADS[width], first.shape[0]
    with torch.device("meta"):
        network = VideoMAENetwork(width=width, depth=depth, hidden=hidden, patch=patch, frames=frames, heads=heads)
    tokens = frames // TUBELET * math.prod((SIZE_PX // patch,) * 2)
    network.positions = _positions(tokens, width)
    fill(network, kept, path, expected=EXPECTED, assign=True)
    return network.eval().requires_grad_(False)
