"""Editing inside a mask with a model that never learned to edit: RePaint (Lugmayr et al. 2022, arXiv:2201.09865).

A trained flow goes from noise (t = 0) to an image (t = 1). Before each Euler step the pixels outside the mask are set
to where the source's own path is at that time, t · source + (1 - t) · noise, so that what is drawn inside must go with
them. One such pass leaves seams, since each step sees what is inside and outside agree only as far as earlier steps
made them. RePaint therefore goes back and forth: after a step from t to t', noise is added again,

    x_t = (t / t') x_t' + √((1 - t)² - (t / t')² (1 - t')²) ε,

which has the marginal of time t if x_t' had that of t', and the step is taken anew, `passes` times in all. In the end
the pixels outside the mask are those of the source, byte by byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paragone.data.digit_edits import edit_target
from paragone.data.digits import SIZE_PX, read_grey
from paragone.data.errors import InputError
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.guidance import guided
from paragone.data.generators.reference.network import (
    N_PIXELS,
    DigitNetwork,
    Network,
    Weights,
    request_noise,
    to_images,
    to_pixels,
)
from paragone.data.records import Task


class Inpainting:
    """Edits digits with the weights of a flow: `steps` Euler steps, each taken `passes` times (1: no going back)."""

    task = Task.IMAGE_EDITING

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        steps: int = 25,
        passes: int = 1,
        guidance: float = 1.0,
        build: Callable[[], nn.Module] = DigitNetwork,
    ) -> None:
        self.name = name
        self._steps, self._passes = steps, passes
        network = build()
        network.load_state_dict(weights)
        self._network = guided(network, guidance)

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Redraw what the masks of all requests allow, at once."""
        read = [read_edit(request) for request in requests]
        sources, masks = np.stack([source for source, _ in read]), np.stack([mask for _, mask in read])
        shape = (self._steps * self._passes, N_PIXELS)
        noise = torch.from_numpy(np.stack([request_noise(request, shape) for request in requests]))
        digit = torch.tensor([edit_target(request.prompt) for request in requests])
        inside = torch.from_numpy(masks.reshape(-1, N_PIXELS))
        drawn = repaint(self._network, noise, digit, to_pixels(sources), inside, steps=self._steps, passes=self._passes)
        for request, image in zip(requests, np.where(masks, to_images(drawn), sources), strict=True):
            yield Generation(request, image)


def repaint(
    network: Network, noise: Tensor, digit: Tensor, source: Tensor, inside: Tensor, *, steps: int, passes: int
) -> Tensor:
    """Images [N, 64] that are drawn where `inside` [N, 64] is true around `source` [N, 64].

    `noise` is [N, steps · passes, 64]: row 0 begins, the others drive the ways back.
    """
    x, row = noise[:, 0], 0
    for step in range(steps):
        time, after = step / steps, (step + 1) / steps
        for turn in range(passes):
            if turn:
                row += 1
                x = back(x, noise[:, row], now=after, to=time)
            x = torch.where(inside, x, time * source + (1.0 - time) * noise[:, 0])
            x = x + network(x, torch.full((len(x),), time, dtype=x.dtype), digit) / steps
    return torch.where(inside, x, source)


def back(x: Tensor, noise: Tensor, *, now: float, to: float) -> Tensor:
    """From time `now` to an earlier time `to`: x_to, distributed as if it had come there the first time."""
    ratio = to / now
    return ratio * x + math.sqrt((1.0 - to) ** 2 - (ratio * (1.0 - now)) ** 2) * noise


def read_edit(request: GenerationRequest) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The source [8, 8] of an editing request and where it may change [8, 8]."""
    if request.source is None or request.mask is None:
        raise InputError(f"prompt {request.prompt.id!r}: an edit of a digit needs a source picture and a mask")
    return read_grey(request.source, SIZE_PX), read_grey(request.mask, SIZE_PX) >= 128
