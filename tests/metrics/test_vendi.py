"""Vendi scores in closed form, both ways round, for every order, and their standard error."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.metrics.vendi import vendi, vendi_profile

DIGITS = load_digits().data / 16
ORDERS = (0.5, 1.0, 2.0, np.inf)


def naive_vendi(features, q):
    """From the eigenvalues of the full kernel."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    p = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    p = p[p > 1e-12]
    if q == 1:
        return np.exp(-(p * np.log(p)).sum())
    return 1 / p.max() if q == np.inf else (p**q).sum() ** (1 / (1 - q))


@pytest.mark.parametrize("q", [0.1, *ORDERS])
@pytest.mark.parametrize("n", [20, 64, 65, 300])  # fewer and more than the 64 dimensions
def test_both_decompositions_against_the_full_kernel(n, q):
    found = vendi(DIGITS[:n], q=q)
    assert found.value == pytest.approx(naive_vendi(DIGITS[:n], q), rel=1e-6 if q < 1 else 1e-9)
    assert found.value >= 1
    assert (found.q, found.n) == (q, n)


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize("groups", [1, 4, 7])
def test_orthogonal_groups_count_as_many(groups, q):
    features = np.repeat(np.eye(10)[:groups], 6, axis=0) * np.linspace(1, 5, 6 * groups)[:, None]
    assert vendi(features, q=q).value == pytest.approx(groups, rel=1e-10)  # n > d or not
    assert vendi(np.hstack([features, np.zeros((6 * groups, 90))]), q=q).value == pytest.approx(groups, rel=1e-10)


def test_uneven_groups_count_by_their_entropy():
    shares = np.array([0.7, 0.2, 0.1])
    features = np.repeat(np.eye(3), [70, 20, 10], axis=0)
    assert vendi(features).value == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert vendi(features, q=2).value == pytest.approx(1 / np.square(shares).sum())
    assert vendi(features, q=np.inf).value == pytest.approx(1 / 0.7)
    assert vendi(features, q=1e-9).value == pytest.approx(3, rel=1e-6)  # the rank


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), d=st.integers(1, 40))
def test_a_larger_order_counts_fewer(seed, n, d):
    scores = [score.value for score in vendi_profile(np.random.default_rng(seed).standard_normal((n, d)))]
    assert all(one >= other - 1e-9 for one, other in pairwise(scores))
    assert scores[0] <= min(n, d) * (1 + 1e-9)
    assert scores[-1] >= 1 - 1e-12


@pytest.mark.parametrize("q", ORDERS)
def test_duplicates_change_nothing(q):
    assert vendi(np.vstack([DIGITS, DIGITS, DIGITS]), q=q).value == pytest.approx(vendi(DIGITS, q=q).value, rel=1e-9)


def test_fresh_samples_scatter_by_the_standard_error():
    rng = np.random.default_rng(3)
    scale = np.linspace(3, 0.2, 20)
    runs = [vendi_profile(rng.standard_normal((400, 20)) * scale + 0.5) for _ in range(150)]
    for order in range(4):
        spread = np.std([run[order].value for run in runs], ddof=1)
        assert np.mean([run[order].standard_error for run in runs]) == pytest.approx(spread, rel=0.2)


def test_errors_name_what_is_wrong():
    with pytest.raises(UsageError, match=r"q=0: a Vendi score takes an order above 0"):
        vendi(DIGITS, q=0)
    with pytest.raises(TooFewSamples, match="at least 2 samples; there are 1"):
        vendi(DIGITS[:1])
    with pytest.raises(InputError, match="features: row 1 is all zeros"):
        vendi([[1.0, 2.0], [0.0, 0.0]])


@pytest.mark.peers
@pytest.mark.parametrize("n", [40, 500])
def test_parity_with_vendi_score(n):
    peer = pytest.importorskip("vendi_score.vendi", reason="needs vendi-score")
    assert vendi(DIGITS[:n]).value == pytest.approx(float(peer.score_dual(DIGITS[:n])), rel=1e-9)
