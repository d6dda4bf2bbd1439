"""One network with random weights in four tools and in ours: the same features of the same files, the same FID.

Photographs of many sizes, grey ones, one with transparency that hides nothing, PNG and JPEG. Tools that cannot stack
pictures of different sizes are fed one at a time through their own transform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from paragone.data.images import read_images
from paragone.metrics import compute_metrics, frechet_distance
from paragone.metrics.extractors.inception import LAYERS, Inception
from paragone.metrics.extractors.inception_network import InceptionNetwork
from paragone.metrics.extractors.resize import RESIZERS
from paragone.metrics.features import ExtractionOptions, extract_side
from paragone.metrics.protocols import INCEPTION_PROTOCOLS, protocol_named

pytestmark = pytest.mark.peers
Features = NDArray[np.float64]

SIZES = [(640, 427), (96, 64), (299, 299), (200, 301), (48, 48), (511, 280)]


@dataclass(frozen=True)
class Setting:
    """The network, its state dict on disk, and two folders: photographs, and the same blurred and shrunken."""

    network: InceptionNetwork
    state: Path
    folders: tuple[Path, Path]

    @property
    def files(self) -> list[Path]:
        return [path for folder in self.folders for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def setting(random_inception: InceptionNetwork, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    root = tmp_path_factory.mktemp("peers")
    torch.save(random_inception.state_dict(), root / "state.pth")
    folders = (root / "pictures" / "photographs", root / "pictures" / "shrunken")
    write_pictures(*folders)
    return Setting(random_inception, root / "state.pth", folders)


def write_pictures(photographs: Path, shrunken: Path) -> None:
    """6 files in each folder; the tools read them themselves."""
    photographs.mkdir(parents=True)
    shrunken.mkdir()
    china, flower = load_sample_images().images
    scenes = [china, flower, data.astronaut(), data.coffee(), data.camera(), data.chelsea()]
    for number, (scene, size) in enumerate(zip(scenes, SIZES, strict=True)):
        picture = Image.fromarray(scene).resize(size, Image.Resampling.LANCZOS)  # the camera man stays grey
        if number == 3:
            picture.putalpha(255)
        picture.save(photographs / f"{number}.{'jpg' if number == 5 else 'png'}", quality=90)
        small = picture.convert("RGB").resize((40 + 7 * number, 60), Image.Resampling.BOX)
        small.resize(size[::-1], Image.Resampling.BILINEAR).save(shrunken / f"{number}.png")


@pytest.fixture(scope="module")
def ours(setting: Setting) -> Callable[[str, str], Features]:
    """Our features [12, D] of the files under a protocol, through the same loop that the commands use."""
    known: dict[tuple[str, str], Features] = {}

    def features(protocol: str, layer: str = "2048") -> Features:
        row = protocol_named(protocol, INCEPTION_PROTOCOLS, extractor="inception")
        if (row.name, layer) not in known:
            extractor = Inception(lambda: setting.network, name="x", fingerprint="x", protocol=row, layer=layer)
            pictures = read_images(setting.folders[0].parent)  # both folders, in the order of `Setting.files`
            side = extract_side(pictures, extractor, ExtractionOptions("cpu", workers=0), task="peers").side
            assert side.features is not None
            known[row.name, layer] = side.features
        return known[row.name, layer]

    return features


def one_by_one(files: list[Path], extract: Callable[[Tensor], Tensor]) -> Features:
    """`extract` on each file as uint8 [1, 3, H, W], read as the tools do."""
    rows = []
    with torch.inference_mode():
        for path in files:
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
            rows.append(extract(pixels.permute(2, 0, 1)[None]).flatten(1))
    return torch.cat(rows).double().numpy()


def compare(theirs: Features, ours: Features, their_fid: Callable[[Features, Features], float]) -> None:
    """Features agree to 1e-5 of their size, and the tool's FID of its features is ours of ours to 1e-6 (layer 2048).

    The tools' eigenvalues of 2048 dimensions take minutes, so both FIDs are of the features in an orthonormal basis of
    the span of the tool's, which changes no distance.
    """
    assert theirs.shape == ours.shape
    difference = float(np.abs(theirs - ours).max() / np.abs(theirs).max())
    half = len(theirs) // 2
    middle = theirs.mean(axis=0)
    basis = np.linalg.svd(theirs - middle, full_matrices=False)[2][:-1].T
    in_basis = [(x - middle) @ basis for x in (theirs, ours)]
    expected = their_fid(in_basis[0][:half], in_basis[0][half:])
    found = frechet_distance(in_basis[1][:half], in_basis[1][half:])
    print(f"features within {difference:.1e} of their size, FID {found:.6g} within {abs(found / expected - 1):.1e}")
    assert difference <= 1e-5
    assert expected > 0.01
    assert found == pytest.approx(expected, rel=1e-6 if theirs.shape[1] == 2048 else 1e-5)


def moments(x: Features) -> tuple[Features, Features]:
    return x.mean(axis=0), np.cov(x, rowvar=False)


@pytest.fixture
def their_pytorch_fid(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Any:
    peer = pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")
    state = torch.load(setting.state, weights_only=True)
    monkeypatch.setattr(peer, "load_state_dict_from_url", lambda *_args, **_options: state)
    return peer


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of scipy's sqrtm
def test_pytorch_fid(setting: Setting, ours: Any, their_pytorch_fid: Any) -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance, get_activations

    network = their_pytorch_fid.InceptionV3([3])
    theirs = get_activations(list(map(str, setting.files)), network, batch_size=1, num_workers=0)
    compare(theirs, ours("pytorch-fid"), lambda x, y: calculate_frechet_distance(*moments(x), *moments(y)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_whole_way_beside_pytorch_fid(setting: Setting, their_pytorch_fid: Any) -> None:
    from pytorch_fid.fid_score import calculate_fid_given_paths

    theirs = calculate_fid_given_paths(list(map(str, setting.folders)), 1, "cpu", 64, num_workers=0)
    report = compute_metrics(
        setting.folders[1],
        setting.folders[0],
        metrics=["fd"],
        features="inception:64",
        weights=setting.state,
        protocol="pytorch-fid",
        device="cpu",
    )
    print(f"FID at layer 64: {report.results[0].value:.6g}, theirs {theirs:.6g}")
    assert report.results[0].value == pytest.approx(theirs, rel=1e-5)  # theirs has eigenvalues of rank 5 in 64
    assert report.results[0].protocol == "pytorch-fid"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_clean_fid(setting: Setting, ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cleanfid", reason="clean-fid is not installed")
    from cleanfid import features, fid, inception_torchscript

    class Script(nn.Module):
        """What clean-fid takes out of NVIDIA's TorchScript file: `layers`, from normalised images to features."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = Pooled(setting.network)

    class Pooled(nn.Module):
        def __init__(self, network: InceptionNetwork) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            return self.network.activations(images, "2048")

    monkeypatch.setattr(inception_torchscript, "check_download_inception", lambda fpath: None)
    monkeypatch.setattr(inception_torchscript.torch.jit, "load", lambda _path: Script())
    cpu = torch.device("cpu")
    network = features.build_feature_extractor("clean", cpu, use_dataparallel=False)
    theirs = [
        fid.get_folder_features(
            str(folder), network, num_workers=0, batch_size=8, device=cpu, mode="clean", verbose=False
        )
        for folder in setting.folders
    ]
    compare(np.concatenate(theirs).astype(np.float64), ours("clean-fid"), fid.fid_from_feats)


def test_torch_fidelity_with_all_its_layers(setting: Setting, ours: Any) -> None:
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def their_fid(x: Features, y: Features) -> float:
        sides = [fid_features_to_statistics(torch.from_numpy(side)) for side in (x, y)]
        return float(fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"])

    layers = [layer for layer in LAYERS if layer not in ("sfid", "logits")]
    network = FeatureExtractorInceptionV3("x", layers, str(setting.state))
    widths = [LAYERS[layer] for layer in layers]
    together = one_by_one(setting.files, lambda image: torch.cat(network(image), dim=1))
    for layer, theirs in zip(layers, np.split(together, np.cumsum(widths)[:-1], axis=1), strict=True):
        compare(theirs, ours("torch-fidelity", layer), their_fid)


@pytest.mark.parametrize(("antialias", "protocol"), [(True, "torchmetrics"), (False, "torch-fidelity")])
def test_torchmetrics(setting: Setting, ours: Any, antialias: bool, protocol: str) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    from torchmetrics.image.fid import NoTrainInceptionV3, _compute_fid

    def their_fid(x: Features, y: Features) -> float:
        return float(_compute_fid(*(torch.from_numpy(part) for side in (x, y) for part in moments(side))))

    network = NoTrainInceptionV3("x", ["2048"], str(setting.state), antialias=antialias)
    compare(one_by_one(setting.files, network), ours(protocol), their_fid)


@pytest.mark.parametrize("shape", [(32, 32), (299, 300), (511, 280), (1, 7)])
def test_tensorflows_resizing_is_torch_fidelitys_to_the_last_bit(shape: tuple[int, int]) -> None:
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    theirs = interpolate_bilinear_2d_like_tensorflow1x(planes, size=(299, 299), align_corners=False)
    assert torch.equal(RESIZERS["tf1"](image, 299), theirs[0])


# ---- What tools do with features: KID and Inception Score -----------------------------------------------------------

SIZE = 4  # of the subsets of 6 pictures: the draw counts
Statistics = Callable[[Features, Features, Features], list[float]]


def by_torch_fidelity(reference: Features, generated: Features, logits: Features) -> list[float]:
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    sides = torch.from_numpy(generated), torch.from_numpy(reference)
    kid = kid_features_to_metric(*sides, kid_subset_size=SIZE, verbose=False)
    score = isc_features_to_metric(torch.from_numpy(logits), splits=3)
    return [*kid.values(), *score.values()]


def by_torchmetrics(reference: Features, generated: Features, logits: Features) -> list[float]:
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    kid = KernelInceptionDistance(nn.Identity(), subset_size=SIZE)
    kid.update(torch.from_numpy(reference), real=True)
    kid.update(torch.from_numpy(generated), real=False)
    score = InceptionScore(nn.Identity(), splits=3)
    score.update(torch.from_numpy(logits))
    found = []
    with torch.random.fork_rng():
        for metric in (kid, score):
            torch.manual_seed(7)
            found += [float(value) for value in metric.compute()]
    return found


def by_clean_fid(reference: Features, generated: Features, _logits: Features) -> list[float]:
    from cleanfid.fid import kernel_distance

    np.random.seed(7)  # clean-fid draws from numpy's global generator
    return [kernel_distance(generated, reference, max_subset_size=SIZE)]


def measured(setting: Setting, protocol: str, **kid: object) -> list[Any]:
    """Our KID and Inception Score of the two folders, over 3 splits and subsets of `SIZE`."""
    return list(
        compute_metrics(
            setting.folders[1],
            setting.folders[0],
            metrics=["kid", "inception_score"],
            features="inception",
            weights=setting.state,
            protocol=protocol,
            settings={"kid": {"subset_size": SIZE, **kid}, "inception_score": {"splits": 3}},
            device="cpu",
            cache=setting.state.parent / "cache",
            seed=7,
        ).results
    )


def agree(results: list[Any], expected: list[float], *, rel: float) -> None:
    found = [value for result in results for value in (result.value, result.details["standard_deviation"])]
    for value, wanted in zip(found, expected, strict=False):  # clean-fid has a KID and no deviation
        print(f"{value:.8g}, theirs {wanted:.8g}, within {abs(value / wanted - 1):.1e}")
        assert value == pytest.approx(wanted, rel=rel)


@pytest.mark.filterwarnings("ignore:Metric `:UserWarning")  # of memory
@pytest.mark.parametrize(
    ("protocol", "package", "theirs"),
    [
        ("torch-fidelity", "torch_fidelity", by_torch_fidelity),
        ("torchmetrics", "torchmetrics", by_torchmetrics),
        ("clean-fid", "cleanfid", by_clean_fid),
    ],
)
def test_kid_and_inception_score_as_the_tool_draws_them(
    setting: Setting, ours: Any, protocol: str, package: str, theirs: Statistics
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    features, logits = (ours(protocol, layer).astype(np.float64) for layer in ("2048", "logits_unbiased"))
    results = measured(setting, protocol)
    expected = theirs(features[:6], features[6:], logits[6:])
    agree(results, expected, rel=1e-6)
    assert f"set:draws={protocol},subset_size={SIZE}" in results[0].signature
    drawn_otherwise = measured(setting, protocol, draws="paragone")
    assert drawn_otherwise[0].value != pytest.approx(expected[0], rel=1e-4)


def test_kid_and_inception_score_of_torch_fidelitys_own_features(setting: Setting) -> None:
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], str(setting.state))
    both = one_by_one(setting.files, lambda image: torch.cat(network(image), dim=1))
    expected = by_torch_fidelity(both[:6, :2048], both[6:, :2048], both[6:, 2048:])
    # Features agree to 1e-6 of their scale; the score's deviation over splits, a hundredth of it, loses two digits.
    agree(measured(setting, "torch-fidelity"), expected, rel=1e-4)


def test_protocols_differ_by_far_more_than_tools_do(ours: Any) -> None:
    names = ("paragone", "pytorch-fid", "torch-fidelity", "torchmetrics")
    made = {name: ours(name) for name in names}
    for name in names:
        for other in names:
            if name < other:
                assert np.abs(made[name] - made[other]).max() > 1e-3 * np.abs(made[name]).max(), (name, other)
