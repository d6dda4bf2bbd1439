"""The tolerances of docs/precision.md that no other test holds, and that every test named there exists."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from paragone.data.decoding import decode_picture
from paragone.data.images import CPU_CHUNK, read_images
from paragone.metrics import FeatureStatistics, frechet_distance, frechet_estimate, kernel_distance
from paragone.metrics.extractors.inception import Inception
from paragone.metrics.extractors.inception_network import InceptionNetwork
from paragone.metrics.features import ExtractionOptions, extract_side

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
PATCHES = np.stack([load_sample_image("flower.jpg")[i * 9 : i * 9 + 120, i * 20 : i * 20 + 90] for i in range(15)])


@pytest.fixture(scope="module")
def plain_network(random_inception: InceptionNetwork) -> InceptionNetwork:
    return random_inception


@pytest.fixture(scope="module")
def inception(plain_network: InceptionNetwork) -> Inception:
    return Inception(lambda: copy.deepcopy(plain_network), name="inception@test", fingerprint="test")


def float64_features(network: InceptionNetwork, images: Tensor) -> Tensor:
    """The features of the network as it was built, with float64 throughout."""
    seen: list[Tensor] = []
    handle = network.Mixed_7c.register_forward_hook(lambda _module, _given, found: seen.append(found))
    network.double().activations(images.double(), "2048")
    handle.remove()
    network.float()
    return seen[0].mean(dim=(2, 3))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_files_give_their_pixels_back(kind: str, options: dict[str, bool]) -> None:
    content = io.BytesIO()
    Image.fromarray(PATCHES[0]).save(content, kind, **options)
    np.testing.assert_array_equal(decode_picture(content.getvalue(), "x").pixels, PATCHES[0])


def test_the_fast_network_is_the_plain_one_in_float64(plain_network: InceptionNetwork, inception: Inception) -> None:
    images = torch.stack([inception.prepare(patch) for patch in PATCHES[:2]])
    with torch.inference_mode():
        expected = float64_features(plain_network, images)
        found = inception(images)[0].double()
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 5e-6 * expected.abs().max()


def test_a_pictures_features_depend_little_on_its_neighbours(inception: Inception) -> None:
    images = torch.stack([inception.prepare(patch) for patch in PATCHES[:3]])
    with torch.inference_mode():
        together, alone = inception(images)[0], inception(images[1:2])[0]
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=float(5e-6 * alone.abs().max()))


def test_in_the_loop_they_do_not_depend_on_them_at_all(inception: Inception) -> None:
    def features(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = extract_side(read_images(pictures), inception, ExtractionOptions("cpu"), task="").side.features
        assert found is not None
        return found

    assert len(PATCHES) < CPU_CHUNK
    order = RNG.permutation(len(PATCHES))
    np.testing.assert_array_equal(features(PATCHES[order][:9]), features(PATCHES)[order][:9])


@pytest.mark.parametrize("n", [60, 2000])
def test_what_float32_features_cost_a_distance(n: int) -> None:
    mixing = RNG.normal(size=(128, 128)) / 10
    one, two = (np.maximum(RNG.normal(size=(n, 128)) @ mixing * scale + 0.3, 0) for scale in (1.0, 1.1))
    rounded = one.astype(np.float32), two.astype(np.float32)
    assert frechet_distance(*rounded) == pytest.approx(frechet_distance(one, two), rel=1e-7)
    options = {"subsets": 3, "subset_size": 50}
    assert kernel_distance(*rounded, **options).mean == pytest.approx(
        kernel_distance(one, two, **options).mean, rel=1e-6, abs=1e-9
    )


def test_the_numeric_bound_of_a_distance_is_far_below_it_where_ranks_are_full() -> None:
    one, two = (FeatureStatistics.from_features(RNG.normal(size=(3000, 64)) * scale) for scale in (1.0, 1.05))
    found = frechet_estimate(one, two)
    assert found.numeric_bound <= 1e-9 * found.value


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "precision.md").read_text())
    assert len(named) > 15
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
