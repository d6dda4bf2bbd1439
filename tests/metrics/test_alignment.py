"""CLIPScore as a formula: closed forms, scale, order, and what has no answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.metrics.alignment import CLIP_SCORE_VARIANTS, clip_score


def test_closed_forms() -> None:
    images = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [3.0, 4.0]]
    captions = [[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [4.0, 3.0]]
    found = clip_score(images, captions)
    np.testing.assert_allclose(found.values, 2.5 * np.array([1, 0, 0, 0.96]))
    assert found.mean == pytest.approx(2.5 * 1.96 / 4)
    assert found.standard_error == pytest.approx(np.std(found.values, ddof=1) / 2)
    assert found.variant == "hessel-2021"
    assert clip_score(images[:1], captions[:1]).standard_error is None
    other = clip_score(images, captions, variant="torchmetrics")
    np.testing.assert_allclose(other.values, 40 * found.values)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), variant=st.sampled_from(sorted(CLIP_SCORE_VARIANTS)))
def test_length_does_not_count_and_order_of_pairs_neither(seed: int, scale: float, variant: str) -> None:
    generator = np.random.default_rng(seed)
    images, captions = generator.standard_normal((2, 7, 5))
    order = generator.permutation(7)
    found = clip_score(images, captions, variant=variant)
    moved = clip_score(images[order] * scale, captions[order], variant=variant)
    np.testing.assert_allclose(moved.values, found.values[order], atol=1e-9)
    assert 0 <= found.mean <= CLIP_SCORE_VARIANTS[variant].weight


def test_what_has_no_score() -> None:
    one = np.ones((2, 3))
    with pytest.raises(InputError, match=r"\(2, 3\) and \(3, 3\)"):
        clip_score(one, np.ones((3, 3)))
    with pytest.raises(InputError, match="not pairs"):
        clip_score(np.ones(3), np.ones(3))
    with pytest.raises(TooFewSamples, match="no pairs"):
        clip_score(np.ones((0, 3)), np.ones((0, 3)))
    with pytest.raises(InputError, match="embedding of caption 2 has no direction"):
        clip_score(one, [[1, 1, 1], [0, 0, 0]])
    with pytest.raises(InputError, match="embedding of picture 1 has no direction"):
        clip_score([[np.nan, 1, 1], [1, 1, 1]], one)
    with pytest.raises(UsageError, match="'clip': use hessel-2021 or torchmetrics"):
        clip_score(one, one, variant="clip")


def test_against_torchmetrics_cosines() -> None:
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    images, captions = np.random.default_rng(0).standard_normal((2, 20, 8))
    expected = 100 * functional.cosine_similarity(torch.from_numpy(images), torch.from_numpy(captions)).clamp(min=0)
    np.testing.assert_allclose(clip_score(images, captions, variant="torchmetrics").values, expected, atol=1e-9)
