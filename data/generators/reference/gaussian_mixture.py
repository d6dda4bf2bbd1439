"""The baseline: a mixture of Gaussians per class, fitted by expectation maximisation (Dempster, Laird & Rubin 1977).

Covariances are diagonal: within a component, pixels are independent. A mixture matches means and covariances well,
which is all that a Fréchet distance can see; a viewer also sees the speckle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paragone.data.digits import N_CLASSES, SIZE_PX, Digits, prompt_class
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

N_COMPONENTS = 5
MIN_VARIANCE = 64.0  # grey levels²


def train_gaussian_mixture(digits: Digits, *, seed: int, progress: Progress = silent) -> dict[str, NDArray[np.float64]]:
    """Weights [10, K], means [10, K, 64] and variances [10, K, 64], in grey levels 0..255."""
    from sklearn.mixture import GaussianMixture as Mixture

    fits = []
    for digit in range(N_CLASSES):
        pixels = digits.of_class(digit).reshape(-1, SIZE_PX * SIZE_PX).astype(np.float64)
        mixture = Mixture(N_COMPONENTS, covariance_type="diag", reg_covar=MIN_VARIANCE, random_state=seed)
        fits.append(mixture.fit(pixels))
        progress("fit Gaussian mixture", digit + 1, N_CLASSES)
    return {
        "weights": np.stack([fit.weights_ for fit in fits]),
        "means": np.stack([fit.means_ for fit in fits]),
        "variances": np.stack([fit.covariances_ for fit in fits]),
    }


class GaussianMixture:
    """A fitted mixture: draw a component of the class, then each pixel on its own."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Mapping[str, NDArray[np.float64]]) -> None:
        self.name = name
        self._weights = weights

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """One independent draw a request."""
        for request in requests:
            digit = prompt_class(request.prompt)
            rng = np.random.default_rng([request.seed, digit])
            component = rng.choice(N_COMPONENTS, p=self._weights["weights"][digit])
            mean, variance = self._weights["means"][digit, component], self._weights["variances"][digit, component]
            pixels = np.clip(np.round(rng.normal(mean, np.sqrt(variance))), 0, 255)
            yield Generation(request, pixels.astype(np.uint8).reshape(SIZE_PX, SIZE_PX))
