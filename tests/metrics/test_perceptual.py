"""LPIPS: files told apart by their content, the formula beside a slow one, the package beside us on random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from photographs import noisy, photograph
from torch import Tensor

from paragone.data.errors import InputError, MissingWeights
from paragone.metrics.perceptual import BACKBONES, load_lpips


def backbone_state(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Random weights in torchvision's layout, whose activations neither vanish nor explode."""
    import torchvision

    with torch.device("meta"):
        shapes = getattr(torchvision.models, name)(weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in shapes.items():
        fan = value[0].numel() if value.ndim > 1 else 100
        state[f"features.{key}"] = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5
    return state


def factors_state(channels: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"lin{place}.model.1.weight": torch.rand(1, count, 1, 1, generator=generator)
        for place, count in enumerate(channels)
    }


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("lpips")
    torch.save(backbone_state("alexnet"), home / "alexnet.pth")
    torch.save(factors_state(BACKBONES[0].channels), home / "alex.pth")
    return home / "alexnet.pth", home / "alex.pth"


def test_the_formula(alexnet: tuple[Path, Path]) -> None:
    import torchvision

    distance = load_lpips(alexnet)
    one, two = photograph()[:80, :96], photograph("flower.jpg")[:80, :96]
    state, factors = (torch.load(path, weights_only=True) for path in alexnet)
    network = torchvision.models.alexnet(weights=None).features
    network.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    total = 0.0
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    pictures = [
        (((torch.from_numpy(picture.copy()) / 127.5 - 1) - shift) / scale).permute(2, 0, 1)[None]
        for picture in (one, two)
    ]
    with torch.inference_mode():
        for place, layer in enumerate((2, 5, 8, 10, 12)):
            mine, other = (network[:layer](picture.clone()) for picture in pictures)
            unit = [value / value.norm(dim=1, keepdim=True).clamp_min(1e-10) for value in (mine, other)]
            weight = factors[f"lin{place}.model.1.weight"].view(1, -1, 1, 1)
            total += float(((unit[0] - unit[1]).square() * weight).sum(1).mean())
    assert distance.distance(one, two) == pytest.approx(total, rel=1e-4)
    assert distance.distance(one, one) == 0
    assert distance.distance(one, two) == pytest.approx(distance.distance(two, one))
    assert distance.name.startswith("lpips-alexnet@")


def test_worse_damage_is_farther(alexnet: tuple[Path, Path]) -> None:
    distance, picture = load_lpips(alexnet), photograph()[:96, :128]
    found = [distance.distance(picture, noisy(picture, levels)) for levels in (2, 8, 32)]
    assert found == sorted(found)


def test_one_file_of_all_of_it_is_the_same(alexnet: tuple[Path, Path], tmp_path: Path) -> None:
    state, factors = (torch.load(path, weights_only=True) for path in alexnet)
    slices = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
    whole = dict(factors)
    for key, value in state.items():
        layer = int(key.split(".")[1])
        whole[f"net.slice{slices[layer]}.{layer}.{key.rsplit('.')[-1]}"] = value
    torch.save(whole, tmp_path / "whole.pth")
    one, two = photograph()[:64, :64], photograph("flower.jpg")[:64, :64]
    assert load_lpips([tmp_path / "whole.pth"]).distance(one, two) == load_lpips(alexnet).distance(one, two)


def test_what_is_missing_is_named(alexnet: tuple[Path, Path], tmp_path: Path) -> None:
    backbone, factors = alexnet
    with pytest.raises(MissingWeights, match="no factors in"):
        load_lpips([backbone])
    with pytest.raises(MissingWeights, match="no backbone in"):
        load_lpips([factors])
    with pytest.raises(MissingWeights, match=r"no such file: .*gone\.pth"):
        load_lpips([tmp_path / "gone.pth"])
    torch.save(factors_state(BACKBONES[1].channels), tmp_path / "vgg.pth")
    with pytest.raises(InputError, match=r"the factors in .* are not those of alexnet"):
        load_lpips([backbone, tmp_path / "vgg.pth"])
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="none of its tensors has a name of theirs"):
        load_lpips([backbone, factors, tmp_path / "other.pth"])
    part = torch.load(backbone, weights_only=True)
    del part["features.10.bias"]
    torch.save(part, tmp_path / "part.pth")
    with pytest.raises(InputError, match="not the whole backbone of alexnet"):
        load_lpips([tmp_path / "part.pth", factors])
    distance = load_lpips(alexnet)
    with pytest.raises(InputError, match="at least 64×64"):
        distance.distance(np.zeros((40, 80, 3), np.uint8), np.zeros((40, 80, 3), np.uint8))
    with pytest.raises(InputError, match="not of one size"):
        distance.distance(np.zeros((64, 80, 3), np.uint8), np.zeros((64, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def package() -> ModuleType:
    return pytest.importorskip("lpips", reason="pip install --group peers")


@pytest.mark.peers
@pytest.mark.parametrize(("place", "net"), [(0, "alex"), pytest.param(1, "vgg", marks=pytest.mark.slow)])
def test_the_package_agrees(package: ModuleType, place: int, net: str, tmp_path: Path) -> None:
    """With its own published factors, on random backbones of both kinds."""
    with warnings.catch_warnings(action="ignore"):  # it calls torchvision in a way that is no longer liked
        theirs = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    features = backbone_state(BACKBONES[place].name)
    with torch.no_grad():
        for key, value in theirs.net.state_dict().items():
            value.copy_(features[f"features.{key.split('.', 1)[1]}"])
    torch.save(features, tmp_path / "backbone.pth")
    published = Path(str(package.__file__)).parent / "weights" / "v0.1" / f"{net}.pth"
    ours = load_lpips([tmp_path / "backbone.pth", published])
    one, two = photograph()[:96, :128], photograph("flower.jpg")[:96, :128]
    batch = [torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for picture in (one, two)]
    with torch.inference_mode():
        expected = float(theirs(*batch))
    assert ours.distance(one, two) == pytest.approx(expected, rel=1e-5)
