"""Model collapse: at the known rate where there is a closed form, and visibly on the digits."""

from pathlib import Path

import numpy as np
import pytest

from paragone.data.digits import Digits, load_digits_split
from paragone.data.errors import UsageError
from paragone.data.generators.base import GeneratorAdapter
from paragone.data.generators.reference.cautionary import Replay
from paragone.data.generators.reference.gaussian_mixture import GaussianMixture, train_gaussian_mixture
from paragone.data.generators.reference.self_consuming import (
    breed,
    expected_variance,
    gaussian_line,
    next_training_set,
)

TRAINING, REFERENCE = load_digits_split(seed=0)


def test_the_variance_shrinks_at_the_known_rate() -> None:
    n, generations = 10, 12
    _, variance = gaussian_line(n, generations, n_lines=40_000, seed=0)
    expected = ((n - 1) / n) ** np.arange(generations + 1)
    np.testing.assert_allclose(expected_variance(n, generations), expected, rtol=1e-12)
    error = variance.std(axis=1) / np.sqrt(variance.shape[1])
    assert (abs(variance.mean(axis=1) - expected)[1:] < 4 * error[1:]).all()
    assert expected[-1] < 0.3


@pytest.mark.parametrize("real_share", [0.1, 0.3, 1.0])
def test_real_data_in_the_mix_keep_it(real_share: float) -> None:
    n = 20
    expected = expected_variance(n, 400, real_share=real_share)
    _, variance = gaussian_line(n, 30, n_lines=20_000, real_share=real_share, seed=1)
    error = variance.std(axis=1) / np.sqrt(variance.shape[1])
    assert (abs(variance.mean(axis=1) - expected[:31])[1:] < 4 * error[1:]).all()
    assert expected[-1] > 0.65
    assert expected[-1] == pytest.approx(expected[-2], rel=1e-9)
    assert expected_variance(n, 400)[-1] < 1e-8


def test_the_next_training_set_is_as_large_class_by_class_and_mixes_as_told() -> None:
    class Black:
        name, task = "black", Replay.task

        def generate(self, requests, /):  # type: ignore[no-untyped-def]
            from paragone.data.generators.base import Generation

            for request in reversed(requests):
                yield Generation(request, np.zeros((8, 8), np.uint8))

    mixed = next_training_set(Black(), TRAINING, 0.25, seed=3)
    np.testing.assert_array_equal(np.bincount(mixed.labels), np.bincount(TRAINING.labels))
    for digit in range(10):
        lit = [image for image in mixed.of_class(digit) if image.any()]
        assert len(lit) == round(0.25 * len(TRAINING.of_class(digit)))
        assert {image.tobytes() for image in lit} <= {image.tobytes() for image in TRAINING.of_class(digit)}
    with pytest.raises(UsageError, match=r"0\.\.1"):
        next_training_set(Black(), TRAINING, 1.5, seed=3)


def test_generations_follow_each_other() -> None:
    seen: list[Digits] = []

    def train(training: Digits, number: int) -> GeneratorAdapter:
        seen.append(training)
        return Replay(f"generation-{number}", training)

    models = breed(train, TRAINING, n=3, seed=0)
    assert [model.name for model in models] == ["generation-0", "generation-1", "generation-2"]
    assert seen[0] is TRAINING
    assert {i.tobytes() for i in seen[2].images} <= {i.tobytes() for i in seen[1].images}


def spread(images: np.ndarray) -> float:
    """Total variance of images."""
    return float(images.reshape(len(images), -1).astype(float).var(axis=0).sum())


def test_the_mixtures_lose_variance_and_those_with_real_data_less() -> None:
    def train(training: Digits, number: int) -> GeneratorAdapter:
        few = Digits(training.images[::6], training.labels[::6])  # small sets collapse fast
        return GaussianMixture(f"{number}", train_gaussian_mixture(few, seed=number))

    within = {}
    for share in (0.0, 0.5):
        last = breed(train, TRAINING, n=5, real_share=share, seed=0)[-1]
        learnt = next_training_set(last, TRAINING, 0.0, seed=99)
        within[share] = np.mean([spread(learnt.of_class(digit)) for digit in range(10)])
    assert within[0.0] < 0.9 * within[0.5]


@pytest.mark.slow
def test_recall_falls_from_generation_to_generation(tmp_path: Path) -> None:
    import torch

    from paragone.data.generators.reference.flow_matching import FlowMatching, train_flow_matching
    from paragone.metrics import precision_recall, vendi

    torch.set_num_threads(1)

    def train(training: Digits, number: int) -> GeneratorAdapter:
        return FlowMatching(f"{number}", train_flow_matching(training, steps=600, seed=number)[600], steps=20)

    real = REFERENCE.images.reshape(len(REFERENCE), -1).astype(float)
    recall, variety = {}, {}
    for share in (0.0, 0.5):
        models = breed(train, TRAINING, n=5, real_share=share, seed=0)
        for which in (0, -1):
            made = next_training_set(models[which], TRAINING, 0.0, seed=50).images.reshape(len(TRAINING), -1)
            recall[share, which] = precision_recall(real, made.astype(float)).recall
            variety[share, which] = vendi(made.astype(float)).value
    assert recall[0.0, -1] < recall[0.0, 0] - 0.15
    assert recall[0.5, -1] > recall[0.0, -1] + 0.1
    assert variety[0.0, -1] < variety[0.0, 0]
