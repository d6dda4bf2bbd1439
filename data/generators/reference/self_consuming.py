"""Model collapse: a generator that is trained on what its predecessor made, generation after generation.

Shumailov et al. 2024 (Nature 631, 755) and Alemohammad et al. 2024 ("Self-consuming generative models go MAD",
arXiv:2307.01850). Each generation loses a little of the tails, which no later one can find again. The closed form: a
Gaussian fitted by maximum likelihood to n draws of the last has E[σ²_k] = σ²₀ (1 - 1/n)^k, and its mean wanders.
Keeping a share of real data in every training set stops this: the expected variance has a limit above zero
(Bertrand et al. 2024, arXiv:2310.00429).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paragone.data.digits import N_CLASSES, PROMPTS, SIZE_PX, Digits
from paragone.data.errors import InputError, UsageError
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.generators.runner import answers, requests_for
from paragone.data.progress import Progress, silent

Train = Callable[[Digits, int], GeneratorAdapter]  # training set, number of the generation → the model trained on it


def breed(
    train: Train,
    real: Digits,
    *,
    n: int,
    real_share: float = 0.0,
    seed: int,
    task: str = "breed",
    progress: Progress = silent,
) -> list[GeneratorAdapter]:
    """The models of `n` generations: the first learns from `real`, each other one from samples of the one before.

    Training sets are of one size; all but the first hold a `real_share` of real images.
    """
    models: list[GeneratorAdapter] = []
    for number in range(n):
        training = next_training_set(models[-1], real, real_share, seed=seed + number) if models else real
        models.append(train(training, number))
        progress(task, number + 1, n)
    return models


def next_training_set(model: GeneratorAdapter, real: Digits, real_share: float, *, seed: int) -> Digits:
    """As many images of each class as `real` has: a share of them real, drawn with `seed`, the others the model's."""
    if not 0.0 <= real_share <= 1.0:
        raise UsageError(f"real_share={real_share}: a share is in 0..1")
    rng = np.random.default_rng(seed)
    images = []
    for digit in range(N_CLASSES):
        of_class = rng.permutation(real.of_class(digit))
        n_real = round(real_share * len(of_class))
        made = samples(model, digit, len(of_class) - n_real, first_seed=seed * len(real))
        images.append(np.concatenate([of_class[:n_real], made]))
    labels = np.repeat(np.arange(N_CLASSES), [len(of_class) for of_class in images])
    return Digits(np.concatenate(images), labels)


def samples(model: GeneratorAdapter, digit: int, n: int, *, first_seed: int) -> NDArray[np.uint8]:
    """`n` images [n, 8, 8] of a digit by the model; raises `InputError` for one that it does not make."""
    requests = requests_for([PROMPTS[digit]], seeds=range(first_seed, first_seed + n))
    images = np.empty((n, SIZE_PX, SIZE_PX), np.uint8)
    for generation in answers(model, requests):
        if generation.image is None:
            raise InputError(f"generator {model.name!r} made no image to learn from: {generation.message}")
        images[generation.request.seed - first_seed] = generation.image
    return images


def gaussian_line(
    n_draws: int, generations: int, *, n_lines: int, real_share: float = 0.0, seed: int
) -> NDArray[np.float64]:
    """Means and variances [2, generations + 1, n_lines] of Gaussians, each fitted to draws of the one before.

    The first is N(0, 1), the real one; a share of every `n_draws` draws is from it.
    """
    rng = np.random.default_rng(seed)
    n_real = round(real_share * n_draws)
    mean, variance = np.zeros(n_lines), np.ones(n_lines)
    line = [(mean, variance)]
    for _ in range(generations):
        own = mean + np.sqrt(variance) * rng.standard_normal((n_draws - n_real, n_lines))
        draws = np.concatenate([own, rng.standard_normal((n_real, n_lines))])
        mean, variance = draws.mean(axis=0), draws.var(axis=0)
        line.append((mean, variance))
    return np.stack([np.stack([mean, variance]) for mean, variance in line], axis=1)


def expected_variance(n_draws: int, generations: int, *, real_share: float = 0.0) -> NDArray[np.float64]:
    """E[σ²] of generations 0 … `generations` in `gaussian_line`, exactly.

    With a share r of real draws, s = E[σ²] and m = E[mean²] go on as m' = (r + (1 - r) s) / n + (1 - r)² m and
    s' = r + (1 - r)(s + m) - m'; without any, s' = (1 - 1/n) s.
    """
    share = round(real_share * n_draws) / n_draws
    s, m = 1.0, 0.0
    expected = [s]
    for _ in range(generations):
        next_m = (share + (1 - share) * s) / n_draws + (1 - share) ** 2 * m
        s, m = share + (1 - share) * (s + m) - next_m, next_m
        expected.append(s)
    return np.array(expected)
