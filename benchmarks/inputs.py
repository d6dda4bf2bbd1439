"""What the benchmarks feed to every contender alike: photograph patches, one random Inception, features, statistics.

`python benchmarks/inputs.py FOLDER NAME…` makes the named inputs in FOLDER, unless they are there. The weights are
random, so no number that comes out is a FID; speed does not depend on their values.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

DIM = 2048


def pictures(folder: Path, n: int, size_px: int, seed: int) -> None:
    """PNG patches of `size_px`² out of the photographs that scikit-learn and scikit-image ship, in all directions."""
    from PIL import Image
    from skimage import data
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    photographs = [*load_sample_images().images, data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    folder.mkdir(parents=True)
    for index in range(n):
        photograph = photographs[index % len(photographs)]
        top, left = (int(rng.integers(side - size_px + 1)) for side in photograph.shape[:2])
        patch = np.rot90(photograph[top : top + size_px, left : left + size_px], int(rng.integers(4)))
        if seed % 2:  # what is called generated is noisy
            patch = np.clip(patch + rng.normal(0, 8, patch.shape), 0, 255)
        Image.fromarray(patch.astype(np.uint8)).save(folder / f"{index}.png")


def weights(path: Path) -> None:
    """A random state dict under torchvision's names, whose activations neither vanish nor explode."""
    import torch
    from torch import nn

    from paragone.metrics.extractors.inception_network import InceptionNetwork

    torch.manual_seed(0)
    network = InceptionNetwork()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)


def features(path: Path, n: int, seed: int) -> None:
    """float32 [n, 2048] like those of a network: correlated, of falling variances, never negative."""
    mixing = np.random.default_rng(0).normal(size=(DIM, DIM)).astype(np.float32) / np.sqrt(DIM)
    scale = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    hidden = np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32) * scale * (1 + 0.05 * seed)
    np.save(path, np.maximum(hidden @ mixing * 20 + 0.3, 0))


def statistics(path: Path, features_path: Path) -> None:
    """Our statistics of the features, with the `mu` and `sigma` that peers take."""
    from paragone.metrics import FeatureStatistics

    FeatureStatistics.from_features(np.load(features_path)).save(path)


def make(folder: Path, name: str) -> None:
    """Make one input: weights.pth, pictures-N-SIZE-SEED, features-N-SEED.npy or statistics-N-SEED.npz."""
    path = folder / name
    if path.exists():
        return
    kind, *numbers = path.stem.split("-")
    match kind, [int(number) for number in numbers]:
        case "weights", []:
            weights(path)
        case "pictures", [n, size_px, seed]:
            pictures(path, n, size_px, seed)
        case "features", [n, seed]:
            features(path, n, seed)
        case "statistics", [n, seed]:
            make(folder, f"features-{n}-{seed}.npy")
            statistics(path, folder / f"features-{n}-{seed}.npy")
        case _:
            raise ValueError(f"no input is called {name!r}")


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        make(Path(sys.argv[1]), wanted)
