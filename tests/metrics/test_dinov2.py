"""DINOv2 from a file with the authors' names, against a vision transformer written out plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.files import file_digest
from paragone.metrics.extractors.dinov2 import DinoV2, authors_state, empty_network, load, positions_for
from paragone.metrics.extractors.table import EXTRACTORS

RNG = np.random.default_rng(0)
PROTOCOLS = ("paragone", "dgm-eval", "edm2", "torch-fidelity")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """What dinov2_vits14_pretrain.pth holds: 518 px positions, a mask token, the authors' names; random numbers."""
    with torch.device("meta"):
        shapes = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0).state_dict()
    generator = torch.Generator().manual_seed(0)
    made = {
        name: torch.randn(value.shape, generator=generator) * (0.05 if value.ndim > 1 else 0.3)
        for name, value in shapes.items()
    }
    made["pos_embed"] = made["pos_embed"] * 10
    return made | {"mask_token": torch.zeros(1, 384)}


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dinov2") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return path


def plain_vision_transformer(state: dict[str, Tensor], image: Tensor, positions: Tensor) -> Tensor:
    """The class token [D] of one image [3, 224, 224]: 12 blocks, 6 heads, layer scale, one picture at a time."""
    patches = functional.conv2d(
        image[None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14
    )
    x = torch.cat([state["cls_token"][0], patches[0].flatten(1).T]) + positions[0]

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (384,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for number in range(12):
        block = f"blocks.{number}"
        query, key, value = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x)).split(384, dim=1)
        heads = []
        for head in range(6):
            part = slice(64 * head, 64 * head + 64)
            attention = (query[:, part] @ key[:, part].T / 8).softmax(dim=1)
            heads.append(attention @ value[:, part])
        x = x + linear(f"{block}.attn.proj", torch.cat(heads, dim=1)) * state[f"{block}.ls1.gamma"]
        hidden = functional.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x)))
        x = x + linear(f"{block}.mlp.fc2", hidden) * state[f"{block}.ls2.gamma"]
    return norm("norm", x)[0]


def test_features_are_the_class_tokens_of_the_published_architecture(state: dict[str, Tensor], file: Path) -> None:
    extractor = load(weights=file, protocol="paragone", variant="small")
    assert (extractor.name, extractor.dim) == (f"dinov2-vits14@{file_digest(file)[:12]}", 384)
    images = [RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((224, 224, 3), (60, 91, 3))]
    batch = torch.stack([extractor.prepare(image) for image in images])
    with torch.inference_mode():
        features, logits = extractor(batch)
        positions = positions_for(state["pos_embed"], 16)
        for row, image in zip(features, batch, strict=True):
            expected = plain_vision_transformer(state, image, positions)
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)
    assert logits is None
    assert (features[0] - features[1]).abs().max() > 0.01


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75, as torch has it without antialiasing."""
    t, a = abs(distance), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def test_positions_are_interpolated_to_sixteen_and_a_tenth() -> None:
    embeddings = torch.randn(1, 1 + 37**2, 2, generator=torch.Generator().manual_seed(0))
    found = positions_for(embeddings, 16)
    assert found.shape == (1, 257, 2)
    assert torch.equal(found[:, 0], embeddings[:, 0])
    grid = embeddings[0, 1:].reshape(37, 37, 2).double().numpy()
    weights = np.zeros((16, 37))
    for target in range(16):
        place = (target + 0.5) * 37 / 16.1 - 0.5
        for source in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            weights[target, min(max(source, 0), 36)] += cubic(place - source)
    expected = np.einsum("ai,bj,ijd->abd", weights, weights, grid)
    np.testing.assert_allclose(found[0, 1:].reshape(16, 16, 2), expected, atol=1e-4)
    assert positions_for(found, 16) is found


def test_the_giants_names_are_translated() -> None:
    given = {
        "blocks.3.mlp.w12.weight": torch.zeros(2),
        "blocks.3.mlp.w3.bias": torch.ones(1),
        "mask_token": torch.zeros(1),
        "pos_embed": torch.zeros(1, 257, 4),
    }
    names = set(authors_state(given, Path("x"), expected="y"))
    assert names == {"blocks.3.mlp.fc1.weight", "blocks.3.mlp.fc2.bias", "pos_embed"}
    assert names < set(empty_network("giant").state_dict())


def test_protocols_differ_in_pixels_only(file: Path) -> None:
    image = RNG.integers(0, 256, (300, 177, 3), dtype=np.uint8)
    made = {}
    for protocol in PROTOCOLS:
        extractor = load(weights=file, protocol=protocol, variant="small")
        assert extractor.protocol == protocol
        made[protocol] = extractor.prepare(image).numpy()
    with_pillow = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(made["dgm-eval"], ((with_pillow - MEAN) / STD).transpose(2, 0, 1), atol=1e-5)
    grey_levels = made["edm2"] * STD[:, None, None] * 255 + MEAN[:, None, None] * 255
    assert grey_levels.min() < -1  # not clamped
    np.testing.assert_allclose(
        made["paragone"], (np.clip(grey_levels, 0, 255) / 255 - MEAN[:, None, None]) / STD[:, None, None], atol=1e-4
    )


def test_names_files_and_protocols_that_do_not_exist(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dinov2:tiny: no such network; there are small, base, large, giant"):
        EXTRACTORS.load("dinov2:tiny")(weights=None, protocol="paragone")
    with pytest.raises(UsageError, match="did you mean 'dgm-eval'"):
        load(weights=None, protocol="dgm_eval")
    with pytest.raises(MissingWeights, match=r"dinov2_vitl14_pretrain\.pth \(1,217,586,395 bytes"):
        load(weights=None, protocol="edm2")
    with pytest.raises(MissingWeights, match="dinov2:small needs a file of weights, and none is named"):
        load(weights=None, protocol="edm2", variant="small")
    with pytest.raises(InputError, match=r"pretrain\.pth: not the weights of DINOv2 vitb14 .*size mismatch"):
        load(weights=file, protocol="edm2", variant="base")
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="no position embeddings"):
        load(weights=tmp_path / "x.pth", protocol="edm2", variant="small")


def test_it_is_a_row_of_the_table(file: Path) -> None:
    extractor = EXTRACTORS.load("dinov2:small")(weights=file, protocol="edm2")
    assert isinstance(extractor, DinoV2)
    assert extractor.resize == "bicubic-antialias-224"
