"""The Inception of FID against torchvision: structure, layers, files, names. Peers are in test_peers_images.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models import inception_v3

from paragone.data.errors import InputError, MissingWeights, PluginError, UsageError
from paragone.data.files import file_digest
from paragone.metrics import weights as weights_module
from paragone.metrics.extractors import inception as module
from paragone.metrics.extractors.inception import LAYERS, Inception, load
from paragone.metrics.extractors.inception_network import InceptionNetwork
from paragone.metrics.extractors.table import EXTRACTORS
from paragone.metrics.protocols import INCEPTION_PROTOCOLS, protocol_named

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network(random_inception: InceptionNetwork) -> InceptionNetwork:
    return random_inception


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


def as_extractor(network: InceptionNetwork, protocol: str = "paragone", layer: str = "2048") -> Inception:
    chosen = protocol_named(protocol, INCEPTION_PROTOCOLS, extractor="inception")
    return Inception(lambda: network, name="inception@test", fingerprint="test", protocol=chosen, layer=layer)


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
        load(weights=tmp_path / "x.pth", protocol="paragone").to(torch.device("cpu"))


class Intruder:
    """Pickles to a call that creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"fc.weight": Intruder(tmp_path / "was-here")}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: not the weights"):
        load(weights=tmp_path / "x.pth", protocol="paragone").to(torch.device("cpu"))
    assert not (tmp_path / "was-here").exists()


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(10, 2048)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: not the weights"):
        load(weights=tmp_path / "x.pth", protocol="paragone").to(torch.device("cpu"))


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
    with pytest.raises(UsageError, match=r"did you mean 'pytorch-fid'.*knows paragone, clean-fid"):
        load(weights=None, protocol="pytorchfid")


def test_folding_the_batch_norms_moves_features_by_rounding_only(network: InceptionNetwork, images: np.ndarray) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    extractor = as_extractor(network)
    batch = torch.stack([extractor.prepare(image) for image in images])
    with torch.inference_mode():
        plain = network.activations(batch, "2048")
        features, _ = extractor(batch)
    assert (features - plain).abs().max() <= 2e-6 * plain.abs().max()
    assert any(not torch.equal(row, other) for row, other in zip(features, plain, strict=True))  # it is another path
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


# ---- Layers ----------------------------------------------------------------------------------------------------------


def hooked(network: InceptionNetwork, images: Tensor, module: str) -> Tensor:
    """What the submodule `module` gives while torchvision's own forward runs over ours."""
    seen = []
    handle = network.get_submodule(module).register_forward_hook(lambda _m, _i, out: seen.append(out))
    network.activations(images, "2048")
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(("layer", "module"), [("64", "maxpool1"), ("192", "maxpool2"), ("768", "Mixed_6e")])
def test_layers_are_means_over_the_picture(
    network: InceptionNetwork, images: np.ndarray, layer: str, module: str
) -> None:
    extractor = as_extractor(network, layer=layer)
    features, logits = run(extractor, images[:1])
    assert logits is None
    assert not extractor.has_logits
    with torch.inference_mode():
        maps = hooked(network, extractor.prepare(images[0])[None], module)
    torch.testing.assert_close(features, maps.flatten(2).mean(2), rtol=1e-5, atol=1e-5)


def test_sfid_is_seven_channels_of_mixed_6d_row_by_row(network: InceptionNetwork, images: np.ndarray) -> None:
    extractor = as_extractor(network, layer="sfid")
    features, _ = run(extractor, images[:1])
    assert features.shape == (1, 2023) == (1, extractor.dim)
    with torch.inference_mode():
        maps = hooked(network, extractor.prepare(images[0])[None], "Mixed_6d")
    for row, column, channel in ((0, 0, 0), (0, 0, 6), (0, 1, 0), (1, 0, 3), (16, 16, 6)):
        found = features[0, (row * 17 + column) * 7 + channel].item()
        assert found == pytest.approx(maps[0, channel, row, column].item(), rel=1e-5, abs=1e-6)


def test_logits_as_features_come_with_and_without_bias(network: InceptionNetwork, images: np.ndarray) -> None:
    _, plain = run(as_extractor(network), images[:1])
    unbiased, same = run(as_extractor(network, layer="logits_unbiased"), images[:1])
    biased, also = run(as_extractor(network, layer="logits"), images[:1])
    assert torch.equal(unbiased, plain)
    assert torch.equal(same, plain)
    assert torch.equal(also, plain)
    torch.testing.assert_close(biased - unbiased, network.fc.bias[None], rtol=0, atol=1e-4)


def test_a_layer_is_named_after_a_colon(weights_file: Path) -> None:
    digest = file_digest(weights_file)[:12]
    for layer, dim in LAYERS.items():
        extractor = EXTRACTORS.load(f"inception:{layer}")(weights=weights_file, protocol="adm")
        assert extractor.name == f"inception@{digest}" + (f":{layer}" if layer != "2048" else "")
        assert (extractor.dim, extractor.protocol, extractor.resize) == (dim, "torch-fidelity", "tf1-299")
    with pytest.raises(UsageError, match=r"inception:sFID: no such layer; did you mean 'sfid'\?"):
        EXTRACTORS.load("inception:sFID")(weights=weights_file, protocol="paragone")
    with pytest.raises(PluginError, match=r"no module called inceptoin; did you mean inception:sfid\?"):
        EXTRACTORS.load("inceptoin:sfid")
    with pytest.raises(PluginError, match="gist has no variants"):
        EXTRACTORS.load("gist:768")


# ---- Pixels ----------------------------------------------------------------------------------------------------------


def test_normalisation_at_the_networks_own_size(network: InceptionNetwork, images: np.ndarray) -> None:
    planes = images[0].transpose(2, 0, 1).astype(np.float64)
    np.testing.assert_allclose(as_extractor(network).prepare(images[0]), (planes - 128) / 128, atol=1e-6)
    other = as_extractor(network, "pytorch-fid").prepare(images[0])
    np.testing.assert_allclose(other, (planes - 127.5) / 127.5, atol=1e-6)
