"""A small classifier of 8×8 digits as a feature extractor: the Inception of the built-in data set.

It plays the part that Inception v3 plays for photographs: features are its last hidden layer, logits its ten classes.
It is trained in seconds by `train_digits_network` and travels as a safetensors file, whose digest is part of the
extractor's name. Its activations are GELUs, because dead ReLUs would be features without any variance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.errors import InputError, MissingWeights
from paragone.data.files import file_digest, write_atomically
from paragone.data.progress import Progress, silent
from paragone.metrics.extractors.resize import to_planes
from paragone.metrics.protocols import PARAGONE, check_protocol

SIZE_PX = 8
N_CLASSES = 10
DIM = 64

BATCH = 64
NOISE_SD = 0.05  # of the augmentation, of pixels in 0..1
MAX_SHIFT_PX = 1
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class DigitsNetwork(nn.Module):
    """Two convolutions and two linear layers on grey images [N, 1, 8, 8] in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * (SIZE_PX // 2) ** 2, DIM)
        self.classes = nn.Linear(DIM, N_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 1, 8, 8] → features [N, 64] (after the last GELU), logits [N, 10]."""
        maps = functional.gelu(self.second(functional.gelu(self.first(images))))
        features = functional.gelu(self.hidden(functional.max_pool2d(maps, 2).flatten(1)))
        return features, self.classes(features)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: the same weights always give the same bytes."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        write_atomically(Path(path), safetensors.torch.save(tensors))

    @classmethod
    def load(cls, path: str | Path) -> DigitsNetwork:
        """Read a safetensors file of a state dict; raises `InputError` when it is of another network."""
        network = cls()
        try:
            network.load_state_dict(safetensors.torch.load_file(path))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise InputError(f"{path}: not the weights of a digits network ({str(error).splitlines()[0]})") from error
        return network.eval().requires_grad_(False)


def load(*, weights: Path | None, protocol: str) -> DigitsExtractor:
    """The extractor `digits`; raises `MissingWeights` unless `weights` names a file."""
    check_protocol(protocol, [PARAGONE], extractor="digits")
    if weights is None or not weights.is_file():
        found = "none is named" if weights is None else f"no such file: {weights}"
        raise MissingWeights(
            f"the extractor digits needs the safetensors file of a digits network, and {found}; name one with "
            "--weights FILE (`paragone demo` trains one), or use --features gist, which needs none"
        )
    return DigitsExtractor(DigitsNetwork.load(weights), fingerprint=file_digest(weights))


class DigitsExtractor:
    """RGB of any size → 64 features and 10 logits."""

    warnings: tuple[str, ...] = ()
    protocol = PARAGONE
    resize = f"area-{SIZE_PX}"
    dim = DIM
    has_logits = True

    def __init__(self, network: DigitsNetwork, *, fingerprint: str) -> None:
        self.name = f"digits@{fingerprint[:12]}"
        self.fingerprint = fingerprint
        self._network = network

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self._network.to(device)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → grey float32 [1, 8, 8] in 0..1, averaged over areas where the size differs."""
        grey = torch.einsum("c,chw->hw", torch.tensor(GREY), to_planes(image))[None] / 255
        if grey.shape[-2:] == (SIZE_PX, SIZE_PX):
            return grey
        return functional.interpolate(grey[None], (SIZE_PX, SIZE_PX), mode="area")[0]

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 1, 8, 8] → features [N, 64], logits [N, 10]."""
        features, logits = self._network(batch)
        return features, logits


def train_digits_network(
    images: NDArray[np.uint8] | NDArray[np.float32] | NDArray[np.float64],
    labels: ArrayLike,
    *,
    seed: int = 0,
    steps: int = 400,
    progress: Progress = silent,
) -> DigitsNetwork:
    """Train on `images` [N, 8, 8] (uint8, or float in 0..1) and `labels` [N] in 0..9.

    Cross entropy, Adam with a cosine schedule, images shifted by up to one pixel and noised. Runs on one thread (two
    threads on a busy machine make small networks many times slower) and gives the same weights for the same seed.
    """
    pixels, targets = _training_tensors(images, labels)
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitsNetwork()
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(1, steps + 1):
            index = torch.randint(len(pixels), (BATCH,))
            _, logits = network(_augmented(pixels[index]))
            loss = functional.cross_entropy(logits, targets[index])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            progress("train digits network", step, steps)
    return network.eval().requires_grad_(False)


def _training_tensors(images: NDArray[np.generic], labels: ArrayLike) -> tuple[Tensor, Tensor]:
    targets = np.asarray(labels)
    if images.shape != (len(targets), SIZE_PX, SIZE_PX) or len(targets) == 0:
        raise InputError(f"digits: images {images.shape} and labels {targets.shape} are not [N, 8, 8] and [N]")
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= N_CLASSES:
        raise InputError("digits: labels must be whole numbers in 0..9")
    scaled = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    if not (scaled.min() >= 0 and scaled.max() <= 1):
        raise InputError(f"digits: {images.dtype} images must lie in 0..1; divide them by their white")
    return torch.from_numpy(scaled[:, None]), torch.from_numpy(targets.astype(np.int64))


def _augmented(images: Tensor) -> Tensor:
    """Each image shifted by its own -1..1 px on a black ground, with Gaussian noise, in 0..1."""
    n = len(images)
    padded = functional.pad(images, (MAX_SHIFT_PX,) * 4)
    rows = torch.randint(2 * MAX_SHIFT_PX + 1, (n, 1)) + torch.arange(SIZE_PX)
    columns = torch.randint(2 * MAX_SHIFT_PX + 1, (n, 1)) + torch.arange(SIZE_PX)
    shifted = padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    return (shifted + NOISE_SD * torch.randn(shifted.shape)).clamp(0, 1)[:, None]


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
