"""Extractors of clips that are read from folders and files with random weights, or have none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from paragone.data.clip_sampling import ClipRule
from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.metrics.extractors.gist3d import Gist3D
from paragone.metrics.extractors.module import Preprocessing, from_module
from paragone.metrics.extractors.videomae_network import VideoMAENetwork
from paragone.metrics.features import open_extractor

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
RNG = np.random.default_rng(0)
PHOTOGRAPH = load_sample_image("china.jpg")


# ---- VideoMAE --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_videomae() -> VideoMAENetwork:
    torch.manual_seed(0)
    network = VideoMAENetwork(width=384, depth=2, hidden=96, patch=28, frames=16, heads=6)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network.eval().requires_grad_(False)


def test_the_network_against_that_of_transformers(small_videomae: VideoMAENetwork) -> None:
    config = transformers.VideoMAEConfig(
        patch_size=28, hidden_size=384, num_hidden_layers=2, num_attention_heads=6, intermediate_size=96,
        layer_norm_eps=1e-6, use_mean_pooling=True, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.VideoMAEModel(config).eval()
    state = dict(theirs.state_dict())
    mine = small_videomae.state_dict()
    state["embeddings.patch_embeddings.projection.weight"] = mine["patch_embed.proj.weight"]
    state["embeddings.patch_embeddings.projection.bias"] = mine["patch_embed.proj.bias"]
    names = {
        "layernorm_before": "norm1", "layernorm_after": "norm2", "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
    }  # fmt: skip
    for layer in range(2):
        at = f"encoder.layer.{layer}."
        for name, other in names.items():
            for part in ("weight", "bias"):
                state[f"{at}{name}.{part}"] = mine[f"blocks.{layer}.{other}.{part}"]
        for place, name in enumerate(("query", "key", "value")):
            state[f"{at}attention.attention.{name}.weight"] = mine[f"blocks.{layer}.attn.qkv.weight"][384 * place :][
                :384
            ]
        state[f"{at}attention.attention.query.bias"] = mine[f"blocks.{layer}.attn.q_bias"]
        state[f"{at}attention.attention.value.bias"] = mine[f"blocks.{layer}.attn.v_bias"]
    theirs.load_state_dict(state)
    clips = torch.from_numpy(RNG.uniform(0, 1, (2, 3, 16, 224, 224))).float()
    with torch.inference_mode():
        expected = small_videomae.fc_norm(theirs(pixel_values=clips.transpose(1, 2)).last_hidden_state.mean(1))
        found = small_videomae(clips)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_a_file_of_the_authors(small_videomae: VideoMAENetwork, tmp_path: Path) -> None:
    state = dict(small_videomae.state_dict()) | {"head.weight": torch.zeros(174, 384), "head.bias": torch.zeros(174)}
    torch.save({"module": state}, tmp_path / "videomae.pth")
    extractor = open_extractor("videomae", weights=tmp_path / "videomae.pth", protocol="cd-videomae", rule=ClipRule())
    assert extractor.name.startswith("videomae@")
    assert extractor.protocol == "cd-videomae/16-first"
    assert extractor.dim == 384
    clip = RNG.integers(0, 256, (16, 40, 60, 3), dtype=np.uint8)
    given = extractor.prepare(clip)
    assert 0 <= given.min() < given.max() <= 1  # divided by 255 and nothing else
    with torch.inference_mode():
        torch.testing.assert_close(extractor(given[None])[0], small_videomae(given[None]))
    usual = open_extractor("videomae", weights=tmp_path / "videomae.pth", rule=ClipRule())
    assert usual.prepare(clip).min() < -1  # ImageNet's scale
    with pytest.raises(UsageError, match="videomae takes 16 frames of a clip, and 8 are asked for"):
        open_extractor("videomae", weights=tmp_path / "videomae.pth", rule=ClipRule(8))
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(10, 3, 2, 4, 4)}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the weights of a VideoMAE v2 network"):
        open_extractor("videomae", weights=tmp_path / "other.pth", rule=ClipRule())
    with pytest.raises(MissingWeights, match=r"vit_g_hybrid_pt_1200e_ssv2_ft\.pth"):
        open_extractor("videomae", rule=ClipRule())


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=4, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=37,
    )  # fmt: skip
    network = transformers.VideoMAEModel(config).eval()
    network.save_pretrained(tmp_path / "model")
    extractor = open_extractor("videomae", weights=tmp_path / "model", rule=ClipRule(4))
    assert extractor.name.startswith("videomae-folder@")
    assert extractor.resize == "clean-32"
    given = extractor.prepare(RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))[None]
    with torch.inference_mode():
        expected = network(pixel_values=given.transpose(1, 2)).last_hidden_state.mean(1)
        torch.testing.assert_close(extractor(given)[0], expected)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not a VideoMAEModel that can be loaded"):
        open_extractor("videomae", weights=tmp_path / "model", rule=ClipRule(4))


# ---- V-JEPA ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vjepa_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vjepa")
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        patch_size=16, crop_size=32, frames_per_clip=8, hidden_size=24, num_attention_heads=2, num_hidden_layers=2,
        mlp_ratio=2, num_pooler_layers=1, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
        num_labels=3,
    )  # fmt: skip
    transformers.VJEPA2Model(config).save_pretrained(folder / "encoder")
    transformers.VJEPA2ForVideoClassification(config).save_pretrained(folder / "classifier")
    return {"encoder": folder / "encoder", "classifier": folder / "classifier"}


def test_vjepa_mean_and_pooler(vjepa_folders: dict[str, Path]) -> None:
    clip = RNG.integers(0, 256, (6, 40, 50, 3), dtype=np.uint8)
    extractor = open_extractor("vjepa", weights=vjepa_folders["encoder"], rule=ClipRule(6))
    given = extractor.prepare(clip)[None]
    network = transformers.VJEPA2Model.from_pretrained(vjepa_folders["encoder"])
    with torch.inference_mode():
        expected = network(given.transpose(1, 2), skip_predictor=True).last_hidden_state.mean(1)
        torch.testing.assert_close(extractor(given)[0], expected)
    pooled = open_extractor("vjepa:pooler", weights=vjepa_folders["classifier"], protocol="jedi", rule=ClipRule(6))
    classifier = transformers.VJEPA2ForVideoClassification.from_pretrained(vjepa_folders["classifier"])
    with torch.inference_mode():
        found, _ = pooled(given)
        torch.testing.assert_close(classifier.classifier(found), classifier(given.transpose(1, 2)).logits)
    assert found.shape == (1, pooled.dim)
    assert pooled.name.endswith(":pooler")


def test_vjepa_refusals(vjepa_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a whole VJEPA2ForVideoClassification: .* would be random"):
        open_extractor("vjepa:pooler", weights=vjepa_folders["encoder"], rule=ClipRule(6))
    with pytest.raises(UsageError, match="takes at least 2 frames, a multiple of 2, of a clip, and 7 are asked for"):
        open_extractor("vjepa", weights=vjepa_folders["encoder"], rule=ClipRule(7))
    with pytest.raises(MissingWeights, match=r"has no config.json; name it with --weights FOLDER"):
        open_extractor("vjepa", weights=tmp_path, rule=ClipRule(6))
    with pytest.raises(UsageError, match="no such features"):
        open_extractor("vjepa:cls", weights=vjepa_folders["encoder"], rule=ClipRule(6))


# ---- gist3d ----------------------------------------------------------------------------------------------------------

MOTION = 283 - 48


def described(frames: np.ndarray) -> np.ndarray:
    gist = Gist3D()
    with torch.inference_mode():
        return gist(gist.prepare(frames)[None])[0][0].numpy()


def panned(across: int, down: int, n: int = 8) -> np.ndarray:
    return np.stack([PHOTOGRAPH[150 + down * t :, 200 + across * t :][:64, :64] for t in range(n)])


def test_gist3d_sees_how_a_picture_moves() -> None:
    """A camera that goes right moves the picture left: by as many pixels a frame, in every quarter."""
    for across, down in ((1, 0), (0, 1), (-1, 1), (0, 0)):
        motion = described(panned(across, down))[MOTION:].reshape(2, 6, 4)  # lag; part; quarter
        velocity = np.median(motion[0, 2:4], axis=1)
        assert 10 * velocity == pytest.approx([-across, -down], abs=0.35)
    still = described(panned(0, 0))
    assert still[188:] == pytest.approx(0)


def test_gist3d_and_time() -> None:
    clip = panned(2, 1)
    forward, backward = described(clip), described(clip[::-1])
    velocity = np.zeros(283, bool)
    velocity[MOTION:].reshape(2, 6, 4)[:, 2:4] = True
    assert backward[~velocity] == pytest.approx(forward[~velocity], abs=1e-5)
    assert backward[velocity] == pytest.approx(-forward[velocity], abs=1e-4)
    shuffled = described(clip[[3, 0, 5, 1, 7, 2, 6, 4]])
    assert shuffled[:188] == pytest.approx(forward[:188], abs=1e-5)  # what is seen
    assert shuffled[188:235].sum() > 1.2 * forward[188:235].sum()  # how it changes


def test_gist3d_is_the_same_whoever_is_beside() -> None:
    clips = [RNG.integers(0, 256, (5, 30, 40, 3), dtype=np.uint8) for _ in range(3)]
    gist = Gist3D()
    together = gist(torch.stack([gist.prepare(clip) for clip in clips]))[0].numpy()
    assert together.shape == (3, Gist3D.dim) == (3, 283)
    for row, clip in zip(together, clips, strict=True):
        np.testing.assert_array_equal(row, described(clip))


# ---- A network of one's own, and the wrong kind ----------------------------------------------------------------------


class Means(nn.Module):
    """The mean of each colour in each frame: 3 × 4 features."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.mean(dim=(3, 4)).flatten(1)


build = from_module(Means, name="means", preprocessing=Preprocessing(8, resize="bilinear", frames=4))


def test_a_module_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_clips", sys.modules[__name__])
    extractor = open_extractor("own_clips:build", rule=ClipRule(4))
    clip = RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    found = extractor(extractor.prepare(clip)[None])[0][0].numpy()
    assert found == pytest.approx((clip / 255).mean(axis=(1, 2)).T.ravel(), abs=1e-5)
    assert extractor.dim == 12
    with pytest.raises(UsageError, match="takes 4 frames of a clip, and 16"):
        open_extractor("own_clips:build", rule=ClipRule())
    for changed in ({"frames": 0}, {"frames": 4, "resize": "inside"}, {"frames": 4, "resize": "pil-bicubic"}):
        with pytest.raises(UsageError, match="preprocessing"):
            Preprocessing(8, **changed)


def test_extractors_of_the_other_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="--features gist takes pictures, and these are clips; use one of gist3d"):
        open_extractor("gist", rule=ClipRule())
    with pytest.raises(UsageError, match="--features gist3d takes clips, and these are pictures"):
        open_extractor("gist3d")
    with pytest.raises(UsageError, match="sampling all gives clips of different lengths"):
        open_extractor("gist3d", rule=ClipRule(None, "all"))
    with pytest.raises(UsageError, match="--weights x: the extractor gist3d has no weights"):
        open_extractor("gist3d", weights=Path("x"), rule=ClipRule())
