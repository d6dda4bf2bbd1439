"""A causal space-time autoencoder for clips (after the video tokenisers of Yu et al. 2023, arXiv:2310.05737, and Wan).

Time is compressed threefold: 1 + 15 frames become 1 + 5 latents of [4, 4, 4]. Every convolution over time is padded on
the left only, so latent i sees frames 0 … 3i and no later one, and frames 3i - 2 … 3i are drawn from latents 0 … i. The
first latent is therefore that of a still picture: an *anchor frame* needs no encoder of its own. The loss is that of a
variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114): squared error + β KL(q(z | x) ‖ N(0, I)).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.digits import Digits
from paragone.data.moving_digits import CANVAS_PX, N_FRAMES, random_clips
from paragone.data.progress import Progress, silent

STRIDE = 3  # frames a latent, after the first
N_LATENTS = 1 + (N_FRAMES - 1) // STRIDE
CHANNELS, SIDE = 4, 4  # of a latent
PATCH_PX = CANVAS_PX // SIDE
LATENT_SIZE = CHANNELS * SIDE * SIDE
BETA = 1e-5
BATCH = 16
LEARNING_RATE = 4e-3


class CausalConv(nn.Module):
    """A 3×3×3 convolution of [N, C, T, H, W] whose output at time t depends on inputs up to t · stride."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride=(stride, 1, 1), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(functional.pad(x, (0, 0, 0, 0, 2, 0)))
        return out


class ChannelNorm(nn.Module):
    """Each place and time scaled to mean square 1 over its channels: no statistic that would see the future."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6) * self.gain


class Residual(nn.Module):
    """x + CausalConv(SiLU(norm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(ChannelNorm(width), nn.SiLU(), CausalConv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.change(x)
        return out


class CausalAutoencoder(nn.Module):
    """Clips [N, T, 16, 16] in -1..1, T = 1 + 3k ↔ latents [N, 1 + k, 4, 4, 4], scaled to about unit variance."""

    scale: Tensor

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.see = nn.Sequential(nn.Conv3d(PATCH_PX**2, width, 1), Residual(width), ChannelNorm(width), nn.SiLU())
        self.squeeze = nn.Sequential(CausalConv(width, 2 * width, stride=STRIDE), ChannelNorm(2 * width), nn.SiLU())
        self.to_latent = nn.Conv3d(2 * width, 2 * CHANNELS, 1)
        self.spread = nn.Sequential(CausalConv(CHANNELS, 2 * width), ChannelNorm(2 * width), nn.SiLU())
        self.to_frames = nn.Conv3d(2 * width, STRIDE * width, 1)
        self.paint = nn.Sequential(Residual(width), ChannelNorm(width), nn.SiLU(), nn.Conv3d(width, PATCH_PX**2, 1))

    def posterior(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x), each [N, 4, 1 + k, 4, 4]."""
        mean, log_variance = self.to_latent(self.squeeze(self.see(_to_patches(clips)))).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)

    def encode(self, clips: Tensor) -> Tensor:
        """The mean latents [N, 1 + k, 4, 4, 4]; those of one picture [N, 1, 16, 16] are [N, 1, 4, 4, 4]."""
        return self.posterior(clips)[0].transpose(1, 2) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Clips [N, 1 + 3k, 16, 16] of latents [N, 1 + k, 4, 4, 4]."""
        return self.draw(latents.transpose(1, 2) / self.scale)

    def draw(self, z: Tensor) -> Tensor:
        """Clips of unscaled latents [N, 4, 1 + k, 4, 4]; each gives three frames, the first only its last."""
        n, _, k, height, width = z.shape
        thrice = self.to_frames(self.spread(z)).reshape(n, STRIDE, -1, k, height, width)
        frames = thrice.permute(0, 2, 3, 1, 4, 5).reshape(n, -1, STRIDE * k, height, width)[:, :, STRIDE - 1 :]
        return _from_patches(self.paint(frames))


def _to_patches(clips: Tensor) -> Tensor:
    """[N, T, 16, 16] → [N, 16, T, 4, 4]."""
    return functional.pixel_unshuffle(clips[:, :, None], PATCH_PX).transpose(1, 2)


def _from_patches(patches: Tensor) -> Tensor:
    """[N, 16, T, 4, 4] → [N, T, 16, 16]."""
    return functional.pixel_shuffle(patches.transpose(1, 2), PATCH_PX)[:, :, 0]


def to_tensor(clips: NDArray[np.uint8]) -> Tensor:
    """[N, T, 16, 16] uint8 → float32 in -1..1."""
    return torch.from_numpy(clips.astype(np.float32) / 127.5 - 1.0)


def to_clips(frames: Tensor) -> NDArray[np.uint8]:
    """[N, T, 16, 16] float in -1..1 (clipped) → uint8, rounded."""
    return np.round((frames.clamp(-1.0, 1.0).numpy().astype(np.float64) + 1.0) * 127.5).astype(np.uint8)


def train_autoencoder(digits: Digits, *, steps: int, seed: int, progress: Progress = silent) -> dict[str, Tensor]:
    """Weights of the autoencoder after `steps` batches, its scale set so that latents have unit variance."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network = CausalAutoencoder()
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    draws = np.random.default_rng(seed)
    for step in range(1, steps + 1):
        clips = to_tensor(random_clips(digits, BATCH, draws)[0])
        mean, log_variance = network.posterior(clips)
        z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng)
        divergence = (mean**2 + log_variance.exp() - 1.0 - log_variance).sum() / (2 * clips.numel())
        loss = functional.mse_loss(network.draw(z), clips) + BETA * divergence
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            progress("train causal autoencoder", step, steps)
    with torch.inference_mode():
        network.scale.copy_(1.0 / network.posterior(to_tensor(random_clips(digits, BATCH, draws)[0]))[0].std())
    return {name: value.clone() for name, value in network.state_dict().items()}
