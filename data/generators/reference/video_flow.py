"""Image-to-video: flow matching in the causal latents of a clip, whose first latent is the given picture's.

A latent clip z = (z₀, …, z₅) is noised on straight paths as in flow_matching.py, all but its anchor z₀, which the
network sees clean at every time; the loss is that of the others. Since the encoder is causal, z₀ is a function of the
first frame alone (causal_video.py), so a still picture starts a clip without any other encoder, and the frame that was
given is kept in the answer, pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from paragone.data.digits import Digits, read_grey
from paragone.data.errors import InputError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.causal_video import (
    BATCH,
    CHANNELS,
    LATENT_SIZE,
    N_LATENTS,
    SIDE,
    CausalAutoencoder,
    to_clips,
    to_tensor,
)
from paragone.data.generators.reference.network import DigitNetwork, Network, Weights, request_noise, train_network
from paragone.data.moving_digits import CANVAS_PX, FPS, prompt_direction, random_clips
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

N_VALUES = N_LATENTS * LATENT_SIZE
N_CLIPS = 8192  # encoded once, for all of the training
WIDTH = 384

build_network = partial(DigitNetwork, N_VALUES, WIDTH)  # its classes are directions


def anchored_loss(network: Network, z: Tensor, direction: Tensor, rng: torch.Generator) -> Tensor:
    """Mean squared error of the velocity of all latents but the first; z [N, 6 · 64]."""
    noise = torch.randn(z.shape, generator=rng)
    time = torch.rand(len(z), generator=rng)
    between = anchored((1.0 - time[:, None]) * noise + time[:, None] * z, z)
    velocity = network(between, time, direction)
    return functional.mse_loss(velocity[:, LATENT_SIZE:], (z - noise)[:, LATENT_SIZE:])


def anchored(x: Tensor, z: Tensor) -> Tensor:
    """`x` [N, 6 · 64] with the first latent of `z` [N, ≥ 64]."""
    return torch.cat([z[:, :LATENT_SIZE], x[:, LATENT_SIZE:]], dim=1)


def integrate_anchored(network: Network, noise: Tensor, anchor: Tensor, direction: Tensor, *, steps: int) -> Tensor:
    """Latents [N, 6 · 64] after `steps` Euler steps from `noise`, the anchor [N, 64] held fast."""
    x = anchored(noise, anchor)
    for step in range(steps):
        velocity = network(x, torch.full((len(x),), step / steps), direction)
        x = anchored(x + velocity / steps, anchor)
    return x


def train_video_flow(
    digits: Digits,
    autoencoder: Weights,
    *,
    steps: int,
    keep: Sequence[int] = (),
    seed: int,
    n_clips: int = N_CLIPS,
    progress: Progress = silent,
) -> dict[int, dict[str, Tensor]]:
    """Weights of the velocity network at the last training step and at each one in `keep`."""
    encoder = load_autoencoder(autoencoder)
    rng = np.random.default_rng(seed)
    latents, directions = [], []
    with torch.no_grad():
        for done in range(0, n_clips, BATCH):
            clips, asked = random_clips(digits, BATCH, rng)
            latents.append(encoder.encode(to_tensor(clips)).flatten(1))
            directions.append(asked)
            progress("encode clips", done + BATCH, n_clips)
    return train_network(
        torch.cat(latents),
        np.concatenate(directions),
        anchored_loss,
        build=build_network,
        steps=steps,
        keep=keep,
        seed=seed,
        task="train video flow",
        progress=progress,
    )


def load_autoencoder(weights: Weights) -> CausalAutoencoder:
    """The autoencoder of these weights."""
    network = CausalAutoencoder()
    network.load_state_dict(weights)
    return network.eval()


class VideoFlow:
    """A trained video flow: 16 frames that begin with the source picture, `steps` Euler steps in the latents.

    `keep_anchor=False` answers with the decoder's own first frame, which resembles the source but is not it.
    """

    task = Task.IMAGE_TO_VIDEO

    def __init__(
        self, name: str, weights: Weights, autoencoder: Weights, *, steps: int = 25, keep_anchor: bool = True
    ) -> None:
        self.name = name
        self._steps, self._keep_anchor = steps, keep_anchor
        self._network = build_network()
        self._network.load_state_dict(weights)
        self._autoencoder = load_autoencoder(autoencoder)

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Integrate all requests at once; the noise depends on prompt and seed alone."""
        frames = np.stack([read_anchor(request) for request in requests])
        noise = torch.from_numpy(np.stack([request_noise(request, (N_VALUES,)) for request in requests]))
        direction = torch.tensor([prompt_direction(request.prompt) for request in requests])
        anchor = self._autoencoder.encode(to_tensor(frames[:, None])).flatten(1)
        latents = integrate_anchored(self._network, noise, anchor, direction, steps=self._steps)
        clips = to_clips(self._autoencoder.decode(latents.reshape(-1, N_LATENTS, CHANNELS, SIDE, SIDE)))
        if self._keep_anchor:
            clips[:, 0] = frames
        for request, clip in zip(requests, clips, strict=True):
            yield Generation(request, clip=to_rgb(clip), fps=FPS)


def read_anchor(request: GenerationRequest) -> NDArray[np.uint8]:
    """The source picture of a request, [16, 16] grey."""
    if request.source is None:
        raise InputError(f"prompt {request.prompt.id!r} has no source picture; a clip of moving digits begins with one")
    return read_grey(request.source, CANVAS_PX)


def to_rgb(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey [T, H, W] → [T, H, W, 3]."""
    return np.repeat(clip[..., None], 3, axis=-1)
