"""I3D: the network against a slow transcription, its two files, and what each protocol feeds it."""

from __future__ import annotations

import copy
import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.metrics.clip_protocols import I3D_PROTOCOLS
from paragone.metrics.extractors import i3d
from paragone.metrics.extractors.clip_resize import prepared_clip
from paragone.metrics.extractors.i3d_network import I3DNetwork, made_fast
from paragone.metrics.features import open_extractor

RNG = np.random.default_rng(0)
FRAMES = 10


def transcription(state: dict[str, Tensor], clips: Tensor) -> Tensor:
    """The network by its description, with every padding and the published head spelt out, in float64."""
    state = {name: value.double() for name, value in state.items()}

    def padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        pads: list[int] = []
        for size, k, s in list(zip(x.shape[2:], kernel, stride, strict=True))[::-1]:
            missing = max((-(-size // s) - 1) * s + k - size, 0)  # TensorFlow's definition of "same"
            pads += [missing // 2, missing - missing // 2]
        return functional.pad(x, pads)

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv3d.weight"]
        x = functional.conv3d(padded(x, tuple(weight.shape[2:]), (stride,) * 3), weight, stride=stride)
        mean, variance, scale, shift = (
            state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.relu(functional.batch_norm(x, mean, variance, scale, shift, eps=1e-5))

    def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return functional.max_pool3d(padded(x, kernel, stride), kernel, stride)

    def mixed(x: Tensor, name: str) -> Tensor:
        branches = [
            unit(x, f"{name}.b0"),
            unit(unit(x, f"{name}.b1a"), f"{name}.b1b"),
            unit(unit(x, f"{name}.b2a"), f"{name}.b2b"),
            unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{name}.b3b"),
        ]
        return torch.cat(branches, dim=1)

    x = pool(unit(clips.double(), "Conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3"), (1, 3, 3), (1, 2, 2))
    x = pool(mixed(mixed(x, "Mixed_3b"), "Mixed_3c"), (3, 3, 3), (2, 2, 2))
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        x = mixed(x, name)
    x = mixed(mixed(pool(x, (2, 2, 2), (2, 2, 2)), "Mixed_5b"), "Mixed_5c")
    x = functional.avg_pool3d(x, (2, 7, 7), 1)
    return functional.conv3d(x, state["logits.conv3d.weight"], state["logits.conv3d.bias"]).flatten(2).mean(dim=2)


def test_the_network_plain_and_fast_against_a_transcription(random_i3d: I3DNetwork) -> None:
    clips = torch.from_numpy(RNG.uniform(-1, 1, (1, 3, 11, 224, 224))).float()  # 11, 6, 3 and 2: odd and even
    with torch.inference_mode():
        expected = transcription(random_i3d.state_dict(), clips)
        for network in (random_i3d, made_fast(random_i3d)):
            found = network(clips).double()
            assert (found - expected).abs().max() <= 5e-6 * expected.abs().max()
    assert expected.std() > 0.1


class Script(nn.Module):
    """What `i3d_torchscript.pt` is from outside: it may resize and scale by itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        x = x.float()
        if resize:
            n, c, t, h, w = x.shape
            planes = x.transpose(1, 2).reshape(n * t, c, h, w)
            resized = torch.nn.functional.interpolate(planes, size=(224, 224), mode="bilinear", align_corners=False)
            x = resized.reshape(n, t, c, 224, 224).transpose(1, 2)
        if rescale:
            x = 2 * x / 255 - 1
        assert return_features, "class probabilities are no features"
        return self.network(x)


@pytest.fixture(scope="module")
def files(random_i3d: I3DNetwork, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both files of one network."""
    folder = tmp_path_factory.mktemp("i3d")
    torch.save(random_i3d.state_dict(), folder / "i3d_pretrained_400.pt")
    with warnings.catch_warnings(action="ignore"):  # torch would rather have its successor
        traced = torch.jit.trace(copy.deepcopy(random_i3d), torch.zeros(1, 3, FRAMES, 224, 224), check_trace=False)
        torch.jit.script(Script(traced)).save(str(folder / "i3d_torchscript.pt"))
    return {"state": folder / "i3d_pretrained_400.pt", "script": folder / "i3d_torchscript.pt"}


def features(path: Path, protocol: str, clip: np.ndarray) -> np.ndarray:
    extractor = open_extractor("i3d", weights=path, protocol=protocol, rule=ClipRule(FRAMES))
    extractor.to(torch.device("cpu"))
    with torch.inference_mode():
        return extractor(extractor.prepare(clip)[None])[0][0].numpy()


def test_both_files_give_the_same_features(files: dict[str, Path]) -> None:
    clip = RNG.integers(0, 256, (FRAMES, 40, 60, 3), dtype=np.uint8)
    by_state, by_script = (features(path, "junyaohu", clip) for path in files.values())
    assert np.abs(by_state - by_script).max() <= 1e-5 * np.abs(by_state).max()
    inside, outside = features(files["script"], "styleganv", clip), features(files["state"], "cd-i3d", clip)
    assert np.abs(inside - outside).max() <= 1e-5 * np.abs(outside).max()
    assert np.abs(inside - by_script).max() > 1e-2 * np.abs(inside).max()  # squashed, not cut out of the middle


def test_what_the_protocols_feed() -> None:
    clip = RNG.integers(0, 256, (10, 30, 80, 3), dtype=np.uint8)
    rows = {row.name: row for row in I3D_PROTOCOLS}
    given = {name: prepared_clip(clip, row.resize, 224, row.mean, row.std) for name, row in rows.items()}
    assert given["styleganv"].shape == (3, 10, 30, 80)
    assert given["styleganv"].max() > 200
    for name in rows.keys() - {"styleganv"}:
        assert given[name].shape == (3, 10, 224, 224)
        assert -1 <= given[name].min() < -0.9
        assert 0.9 < given[name].max() <= 1
    torch.testing.assert_close(given["cd-i3d"], given["fastvideo"])
    # TensorFlow 1 begins at the corner itself; the middle of 80 columns at 30 rows are columns 25 to 54.
    assert given["google"][:, 0, 0, 0].tolist() == pytest.approx((clip[0, 0, 0] / 127.5 - 1).tolist())
    narrow = prepared_clip(clip[:, :, 25:55], "bilinear", 224, rows["cd-i3d"].mean, rows["cd-i3d"].std)
    assert (given["junyaohu"] - narrow)[..., 8:-8].abs().median() < 0.1


def test_names_digests_and_refusals(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(files["state"].read_bytes()).hexdigest()
    extractor = open_extractor("i3d", weights=files["state"], protocol="google", rule=ClipRule(32, stride=2))
    assert extractor.name == f"i3d@{digest[:12]}"
    assert extractor.fingerprint == digest
    assert extractor.protocol == "google/32-first/2"
    assert extractor.resize == "tf1-224"
    assert "not one of the published files of I3D" in extractor.warnings[0]
    content = files["state"].read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    monkeypatch.setitem(i3d.KNOWN_BLOBS, blob, "i3d-pretrained-400")
    known = open_extractor("i3d", weights=files["state"], protocol="google", rule=ClipRule())
    assert known.name == "i3d-pretrained-400"
    assert known.warnings == ()
    with pytest.raises(MissingWeights, match=r"i3d_pretrained_400.pt \(a state dict\) or i3d_torchscript.pt"):
        open_extractor("i3d", rule=ClipRule())
    with pytest.raises(UsageError, match="is no TorchScript archive"):
        open_extractor("i3d", weights=files["state"], protocol="styleganv", rule=ClipRule())
    with pytest.raises(UsageError, match="i3d takes at least 10 frames of a clip, and 9 are asked for"):
        open_extractor("i3d", weights=files["state"], rule=ClipRule(9))
    with pytest.raises(UsageError, match="did you mean 'google'"):
        open_extractor("i3d", weights=files["state"], protocol="gogle", rule=ClipRule())
    torch.save({"x": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not the weights of I3D"):
        open_extractor("i3d", weights=tmp_path / "other.pt", rule=ClipRule()).to(torch.device("cpu"))
