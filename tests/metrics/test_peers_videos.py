"""One network with random weights in cd-fvd and in ours: the same features of the same clips, the same FVD.

cd-fvd's readers of folders do not work on today's libraries (docs/video.md), so both are given arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from paragone.data.clip_sampling import ClipRule
from paragone.data.videos import read_videos
from paragone.metrics import ALL_METRICS, FeatureStatistics, Side
from paragone.metrics.extractors.i3d_network import I3DNetwork
from paragone.metrics.features import ExtractionOptions, extract_side, open_extractor
from paragone.metrics.settings import settings_for, with_settings

pytestmark = pytest.mark.peers
Features = NDArray[np.float64]
N, T = 4, 16


@pytest.fixture(scope="module")
def cdfvd() -> Any:
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip("cdfvd.fvd", reason="cd-fvd is not installed", exc_type=ImportError)


def clips(seed: int, gain: float = 1.0) -> NDArray[np.uint8]:
    """[N, T, 60, 90, 3]: textures that move, with noise."""
    rng = np.random.default_rng(seed)
    textures = rng.integers(0, 256, (N, 8, 8, 3)).astype(float)
    found = np.empty((N, T, 60, 90, 3), np.uint8)
    for clip in range(N):
        for step in range(T):
            picture = np.kron(np.roll(textures[clip], step % 8, axis=1), np.ones((8, 12, 1)))[:60, :90]
            found[clip, step] = (gain * (picture + rng.normal(0, 10, picture.shape))).clip(0, 255)
    return found


SETS = clips(1), clips(2, gain=0.7)


def ours(features: str, weights: Path, protocol: str) -> list[Features]:
    """Our features of both sets, through the same loop that the commands use."""
    extractor = open_extractor(features, weights=weights, protocol=protocol, rule=ClipRule(T))
    found = []
    for array in SETS:
        source = read_videos(array, rule=ClipRule(T))
        side = extract_side(source, extractor, ExtractionOptions("cpu", workers=0), task="").side
        assert side.features is not None
        found.append(side.features.astype(float))
    return found


def our_fvd(one: Features, other: Features, protocol: str) -> float:
    row = with_settings(ALL_METRICS["fd"], settings_for(protocol)["fd"])
    sides = [Side(FeatureStatistics.from_features(rows), rows) for rows in (one, other)]
    return row.estimate(reference=sides[0], generated=sides[1]).value


def their_fvd(cdfvd: Any, one: Features, other: Features) -> float:
    """cd-fvd's own accumulated moments and distance."""
    sides = []
    for rows in (one, other):
        stats = cdfvd.FeatureStats(capture_mean_cov=True)
        stats.append(rows)
        sides.append(stats)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of SciPy, about `disp`
        return float(cdfvd.cdfvd.compute_fvd_from_stats(None, *sides))


def compare(cdfvd: Any, theirs: list[Features], mine: list[Features], protocol: str) -> None:
    """Features agree to 1e-4 of their size, and the tool's FVD of its own is ours of ours to 1e-5.

    The tool's square root of a singular matrix has few right digits, so both distances are of the features in an
    orthonormal basis of the span of the tool's, which changes none.
    """
    together = np.concatenate(theirs)
    difference = float(np.abs(together - np.concatenate(mine)).max() / np.abs(together).max())
    middle = together.mean(axis=0)
    basis = np.linalg.svd(together - middle, full_matrices=False)[2][: N - 1].T
    in_basis = [[(rows - middle) @ basis for rows in side] for side in (theirs, mine)]
    expected, found = their_fvd(cdfvd, *in_basis[0]), our_fvd(*in_basis[1], protocol=protocol)
    print(f"features within {difference:.1e} of their size, FVD {found:.6g} within {abs(found / expected - 1):.1e}")
    assert difference <= 1e-4
    assert expected > 1e-3
    assert found == pytest.approx(expected, rel=1e-5)


def their_features(extract: Callable[..., Any], stats: Any, network: nn.Module, array: NDArray[np.uint8]) -> Features:
    return extract(stats, network, array, device="cpu").get_all().astype(float)


def test_cd_fvd_with_i3d(cdfvd: Any, random_i3d: I3DNetwork, tmp_path: Path) -> None:
    torch.save(random_i3d.state_dict(), tmp_path / "i3d_pretrained_400.pt")
    network = cdfvd.load_i3d_model(torch.device("cpu"), str(tmp_path / "i3d_pretrained_400.pt"))
    theirs = [
        their_features(cdfvd.get_i3d_logits, cdfvd.FeatureStats(capture_all=True), network, array) for array in SETS
    ]
    compare(cdfvd, theirs, ours("i3d", tmp_path / "i3d_pretrained_400.pt", "cd-i3d"), "cd-i3d")


def test_cd_fvd_with_videomae(cdfvd: Any, tmp_path: Path) -> None:
    """Its own class of network, which it makes 40 layers deep and 1408 wide, at two layers of 384."""
    from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=224, patch_size=14, embed_dim=384, depth=2, num_heads=6, mlp_ratio=48 / 11, qkv_bias=True,
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6), num_classes=174, all_frames=16, tubelet_size=2,
        drop_path_rate=0.3, use_mean_pooling=True,
    ).eval().requires_grad_(False)  # fmt: skip
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    torch.save({"module": network.state_dict()}, tmp_path / "videomae.pth")
    theirs = [
        their_features(cdfvd.get_videomae_features, cdfvd.FeatureStats(capture_all=True), network, array)
        for array in SETS
    ]
    compare(cdfvd, theirs, ours("videomae", tmp_path / "videomae.pth", "cd-videomae"), "cd-videomae")
