"""JEDi's distance: the published form, without its bias, and what its kernel cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from paragone.data.errors import InputError, NotComparable, TooFewSamples
from paragone.metrics import kernel
from paragone.metrics.kernel import kernel_distance
from paragone.metrics.quadratic import jedi

RNG = np.random.default_rng(0)


def kernels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(polynomial_kernel(a, b, degree=2, gamma=1 / a.shape[1], coef0=0) for a, b in ((x, x), (y, y), (x, y)))


def test_both_forms_against_full_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "TILE", 7)
    x, y = RNG.normal(size=(30, 5)), RNG.normal(size=(23, 5)) * 1.3
    xx, yy, xy = kernels(x, y)
    found = jedi(x, y)
    assert found.biased == pytest.approx(100 * (xx.mean() + yy.mean() - 2 * xy.mean()), rel=1e-12)
    off = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    assert found.unbiased == pytest.approx(100 * (sum(off) - 2 * xy.mean()), rel=1e-11)


def test_the_published_form_is_biased_upwards_at_few_samples() -> None:
    """By 2 (E k(x, x) - E k(x, y)) / n, which is 2 (1 + 1 / D) / n here; the other form is about zero."""
    for n, bias in ((64, 200 * (1 + 1 / 400) / 64), (256, 200 * (1 + 1 / 400) / 256)):
        drawn = [jedi(RNG.normal(size=(n, 400)), RNG.normal(size=(n, 400))) for _ in range(8)]
        assert np.mean([one.biased for one in drawn]) == pytest.approx(bias, rel=0.05)
        unbiased = [one.unbiased for one in drawn]
        assert abs(np.mean(unbiased)) < 3 * np.std(unbiased) / np.sqrt(8) + 1e-3
        assert min(unbiased) < 0


def test_the_standard_error_is_of_the_right_size() -> None:
    drawn = [jedi(RNG.normal(size=(60, 6)), RNG.normal(size=(80, 6)) * 1.2) for _ in range(200)]
    spread = np.std([one.unbiased for one in drawn], ddof=1)
    assert np.mean([one.standard_error for one in drawn]) == pytest.approx(spread, rel=0.2)


def test_odd_moments_are_not_seen() -> None:
    x = RNG.gamma(1.0, size=(400, 8))
    assert abs(jedi(x, -x).biased) < 1e-10  # another distribution, by its very mean
    assert kernel_distance(x, -x, subset_size=400).mean > 1  # which the cubic kernel with a constant sees


def test_refusals() -> None:
    with pytest.raises(TooFewSamples):
        jedi(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(NotComparable):
        jedi(np.ones((4, 3)), np.ones((5, 2)))
    with pytest.raises(InputError, match="overflow"):
        jedi(np.full((4, 3), 1e160), np.ones((5, 3)))
