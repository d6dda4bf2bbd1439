"""The Inception of FID against torchvision, Pillow and, where it is installed, pytorch-fid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import inception_v3

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.files import file_digest
from paragone.metrics import weights as weights_module
from paragone.metrics.extractors import inception as module
from paragone.metrics.extractors.base import resize_clean, to_planes
from paragone.metrics.extractors.inception import Inception, InceptionNetwork, load

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network() -> InceptionNetwork:
    """Random weights whose activations neither vanish nor explode, and batch norms that differ from the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = InceptionNetwork()
        for layer in built.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
            elif isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    return built.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def weights_file(network: InceptionNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return RNG.integers(0, 256, (2, 299, 299, 3), dtype=np.uint8)


def run(extractor: Inception, images: np.ndarray) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        return extractor(torch.stack([extractor.prepare(image) for image in images]))


def as_extractor(network: InceptionNetwork, protocol: str = "paragone") -> Inception:
    return Inception(network, name="inception@test", fingerprint="test", protocol=protocol)


def test_state_dict_has_torchvisions_names_and_1008_classes(network: InceptionNetwork) -> None:
    torchvisions = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).state_dict()
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in torchvisions.items()
    }


def test_average_pooling_leaves_out_the_padding_and_the_last_block_takes_the_maximum(network: InceptionNetwork) -> None:
    one = torch.zeros(1, 1, 5, 5)
    one[0, 0, 2, 2] = 1
    for block in (network.Mixed_7b, network.Mixed_7c):
        assert block.pooled(torch.ones(1, 1, 5, 5)).eq(1).all()
    assert network.Mixed_7b.pooled(one)[0, 0, 2, 2].item() == pytest.approx(1 / 9)
    assert network.Mixed_7c.pooled(one)[0, 0, 1:4, 1:4].eq(1).all()
    corner = torch.zeros(1, 192, 4, 4)
    corner[:, :, 0, 0] = 4
    for block, channels in ((network.Mixed_5b, 192), (network.Mixed_6b, 768)):
        given = corner[:, :1].expand(1, channels, 4, 4)
        expected = torch.zeros(4, 4)
        expected[0, 0], expected[0, 1], expected[1, 0], expected[1, 1] = 4 / 4, 4 / 6, 4 / 6, 4 / 9
        pooled_branch = block.branch_pool(expected.expand(1, channels, 4, 4))
        torch.testing.assert_close(block(given)[:, -pooled_branch.shape[1] :], pooled_branch)


def test_files_of_both_kinds_give_the_network_back(
    network: InceptionNetwork, weights_file: Path, images: np.ndarray
) -> None:
    features, logits = run(as_extractor(network), images)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    torch.testing.assert_close(logits, features @ network.state_dict()["fc.weight"].T)
    loaded = load(weights=weights_file, protocol="paragone")
    torch.testing.assert_close(run(loaded, images)[0], features, rtol=1e-5, atol=1e-5)
    digest = file_digest(weights_file)
    assert loaded.name == f"inception@{digest[:12]}"
    assert digest in loaded.warnings[0]
    tensors = weights_file.with_name("random.safetensors")
    safetensors.torch.save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tensors)
    assert load(weights=tensors, protocol="paragone").name == f"inception@{file_digest(tensors)[:12]}"


def test_the_known_file_has_the_known_name(weights_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(weights_module.INCEPTION, sha256=file_digest(weights_file))
    monkeypatch.setattr(module, "INCEPTION", known)
    extractor = load(weights=weights_file, protocol="clean-fid")
    assert extractor.name == "inception-2015-12-05"
    assert extractor.protocol == "paragone"
    assert extractor.warnings == ()


@pytest.mark.parametrize("content", [b"", b"text"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pth: not the weights of the 2015-12-05 Inception"):
        load(weights=tmp_path / "x.pth", protocol="paragone")


class Intruder:
    """Pickles to a call that creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"fc.weight": Intruder(tmp_path / "was-here")}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: not the weights"):
        load(weights=tmp_path / "x.pth", protocol="paragone")
    assert not (tmp_path / "was-here").exists()


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(10, 2048)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: not the weights"):
        load(weights=tmp_path / "x.pth", protocol="paragone")


def test_missing_weights_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAGONE_HOME", str(tmp_path))
    with pytest.raises(MissingWeights) as caught:
        load(weights=None, protocol="paragone")
    message = str(caught.value)
    for part in ("pt_inception-2015-12-05-6726825d.pth", "95,628,359", "6726825d0af5f729", str(tmp_path)):
        assert part in message
    assert "--weights FILE" in message
    assert "--features gist" in message


def test_unknown_protocol_is_refused_before_the_weights_are_looked_for() -> None:
    with pytest.raises(UsageError, match="knows paragone, clean-fid, pytorch-fid"):
        load(weights=None, protocol="dgm-eval")


# ---- Pixels ----------------------------------------------------------------------------------------------------------


def test_normalisation_at_the_networks_own_size(network: InceptionNetwork, images: np.ndarray) -> None:
    planes = images[0].transpose(2, 0, 1).astype(np.float64)
    np.testing.assert_allclose(as_extractor(network).prepare(images[0]), (planes - 128) / 128, atol=1e-6)
    other = as_extractor(network, "pytorch-fid").prepare(images[0])
    np.testing.assert_allclose(other, (planes - 127.5) / 127.5, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (299, 300), (512, 300), (301, 777), (5, 400)])
def test_clean_resize_is_pillows_bicubic_in_floating_point(shape: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    resized = resize_clean(to_planes(image), 299).numpy()
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(resized[channel], np.clip(np.asarray(plane), 0, 255), atol=0.01)


@pytest.mark.parametrize("size", [299, 120])
def test_features_are_those_of_pytorch_fid(network: InceptionNetwork, size: int) -> None:
    peer = pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")
    theirs = peer._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    theirs.Mixed_5b = peer.FIDInceptionA(192, pool_features=32)
    theirs.Mixed_5c, theirs.Mixed_5d = (peer.FIDInceptionA(width, pool_features=64) for width in (256, 288))
    theirs.Mixed_6b = peer.FIDInceptionC(768, channels_7x7=128)
    theirs.Mixed_6c, theirs.Mixed_6d = (peer.FIDInceptionC(768, channels_7x7=160) for _ in range(2))
    theirs.Mixed_6e = peer.FIDInceptionC(768, channels_7x7=192)
    theirs.Mixed_7b, theirs.Mixed_7c = peer.FIDInceptionE_1(1280), peer.FIDInceptionE_2(2048)
    assert list(theirs.state_dict()) == list(network.state_dict())
    theirs.load_state_dict(network.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer, "fid_inception_v3", lambda: theirs)
        wrapped = peer.InceptionV3([3]).eval()
    images = RNG.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = wrapped(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)[0][:, :, 0, 0]
    features, _ = run(as_extractor(network, "pytorch-fid"), images)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
