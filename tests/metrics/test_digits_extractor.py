"""The digits network: it learns, repeats itself, survives the disk, and sees pictures as it was trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.files import file_digest
from paragone.metrics import frechet_distance
from paragone.metrics.extractors.digits import DigitsExtractor, DigitsNetwork, load, train_digits_network


@pytest.fixture(scope="module")
def halves() -> list[np.ndarray]:
    """Training images and labels, held-out images and labels; uint8 [N, 8, 8]."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=0.5, stratify=digits.target, random_state=0
    )
    return [train_x, train_y, test_x, test_y]


@pytest.fixture(scope="module")
def network(halves: list[np.ndarray]) -> DigitsNetwork:
    return train_digits_network(halves[0], halves[1], seed=0)


def as_rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[:, :, None], 3, axis=2)


def features_of(network: DigitsNetwork, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    extractor = DigitsExtractor(network, fingerprint="0" * 64)
    with torch.inference_mode():
        features, logits = extractor(torch.stack([extractor.prepare(as_rgb(image)) for image in images]))
    return features.numpy(), logits.numpy()


def test_it_reads_digits_it_has_not_seen(network: DigitsNetwork, halves: list[np.ndarray]) -> None:
    features, logits = features_of(network, halves[2])
    assert features.shape == (len(halves[2]), 64)
    assert logits.shape == (len(halves[2]), 10)
    assert (logits.argmax(axis=1) == halves[3]).mean() >= 0.95
    assert features.std(axis=0).min() > 1e-3  # no dead feature


def test_distance_of_its_features_grows_with_noise(network: DigitsNetwork, halves: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    reference, _ = features_of(network, halves[2])
    distances = []
    for sd in (0, 8, 16, 32, 64):
        noisy = np.clip(halves[0] + rng.normal(0, sd, halves[0].shape), 0, 255).astype(np.uint8)
        distances.append(frechet_distance(reference, features_of(network, noisy)[0]))
    assert (np.diff(distances) > 0).all()


def test_a_seed_fixes_the_weights_whatever_the_callers_generator(halves: list[np.ndarray]) -> None:
    threads = torch.get_num_threads()

    def trained(seed: int, images: np.ndarray) -> dict[str, torch.Tensor]:
        return train_digits_network(images, halves[1], seed=seed, steps=5).state_dict()

    first = trained(3, halves[0])
    state = torch.random.get_rng_state()
    torch.rand(7)
    again, scaled = trained(3, halves[0]), trained(3, (halves[0] / 255).astype(np.float32))
    other = trained(4, halves[0])
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, scaled[name])
    assert not torch.equal(first["hidden.weight"], other["hidden.weight"])
    assert torch.get_num_threads() == threads
    assert not torch.equal(torch.random.get_rng_state(), state)  # only this test's own torch.rand moved it
    torch.random.set_rng_state(state)


def test_training_leaves_the_callers_generator_alone(halves: list[np.ndarray]) -> None:
    before = torch.random.get_rng_state()
    calls: list[tuple[int, int]] = []
    train_digits_network(halves[0], halves[1], steps=2, progress=lambda task, done, total: calls.append((done, total)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert calls[-1] == (2, 2)


def test_the_file_gives_the_same_features_and_names_the_extractor(
    network: DigitsNetwork, halves: list[np.ndarray], tmp_path: Path
) -> None:
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    network.save(path)
    DigitsNetwork.load(path).save(again)
    assert path.read_bytes() == again.read_bytes()
    extractor = load(weights=path, protocol="paragone")
    assert extractor.name == f"digits@{file_digest(path)[:12]}"
    assert extractor.fingerprint == file_digest(path)
    with torch.inference_mode():
        features, _ = extractor(torch.stack([extractor.prepare(as_rgb(image)) for image in halves[2][:20]]))
    np.testing.assert_allclose(features.numpy(), features_of(network, halves[2][:20])[0], rtol=1e-6, atol=1e-6)


def test_metadata_in_the_file_does_no_harm(network: DigitsNetwork, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(tensors, path, metadata={"settings": "x"})
    assert torch.equal(DigitsNetwork.load(path).hidden.weight, network.hidden.weight)


def test_prepare_scales_to_one_and_averages_larger_pictures() -> None:
    extractor = DigitsExtractor(DigitsNetwork(), fingerprint="0" * 64)
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    prepared = extractor.prepare(as_rgb(image))
    assert prepared.shape == (1, 8, 8)
    np.testing.assert_allclose(prepared[0], image / 255, atol=1e-6)
    large = np.kron(image, np.ones((3, 3), np.uint8))
    np.testing.assert_allclose(extractor.prepare(as_rgb(large)), prepared, atol=1e-6)


def test_unusable_training_data_is_refused(halves: list[np.ndarray]) -> None:
    images, labels = halves[0], halves[1]
    for bad_images, bad_labels, message in (
        (images[:, :7], labels, "not \\[N, 8, 8\\]"),
        (images[:5], labels, "not \\[N, 8, 8\\]"),
        (images.astype(np.float64), labels, "must lie in 0..1"),
        (np.full((2, 8, 8), np.nan), [0, 1], "must lie in 0..1"),
        (images, labels + 1, "0..9"),
        (images, labels / 2, "0..9"),
    ):
        with pytest.raises(InputError, match=message):
            train_digits_network(bad_images, bad_labels, steps=1)


def test_missing_or_foreign_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="none is named; name one with --weights"):
        load(weights=None, protocol="paragone")
    with pytest.raises(MissingWeights, match="no such file"):
        load(weights=tmp_path / "no", protocol="paragone")
    (tmp_path / "text").write_bytes(b"not safetensors at all")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "other")
    for name in ("text", "other"):
        with pytest.raises(InputError, match=f"{name}: not the weights of a digits network"):
            load(weights=tmp_path / name, protocol="paragone")
    with pytest.raises(UsageError, match="digits knows paragone"):
        load(weights=tmp_path / "no", protocol="clean-fid")
