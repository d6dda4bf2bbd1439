"""CLIP by open_clip with random weights: files of every kind, activations, preprocessing, CLIPScore of real pairs."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image

from paragone.data.errors import InputError, MissingWeights, UsageError
from paragone.data.files import file_digest
from paragone.metrics.alignment import clip_score_of_pictures, embed_captions
from paragone.metrics.extractors import clip as module
from paragone.metrics.extractors.clip import Clip, load
from paragone.metrics.extractors.table import EXTRACTORS
from paragone.metrics.features import ExtractionOptions
from paragone.metrics.weights import OPENAI_CLIP

RNG = np.random.default_rng(0)
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
ON_CPU = ExtractionOptions("cpu", workers=0)


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "tiny-clip.json").write_text(json.dumps(CONFIG))
    (folder / "tiny-clip-quickgelu.json").write_text(json.dumps(CONFIG | {"quick_gelu": True}))
    (folder / "wide-clip.json").write_text(json.dumps(CONFIG | {"embed_dim": 24}))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def network() -> open_clip.CLIP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = open_clip.CLIP(**CONFIG)
        for parameter in built.parameters():  # layers whose activations matter
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
                parameter.data = parameter.data.half().float()
    return built.eval()


@pytest.fixture(scope="module")
def file(network: open_clip.CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    torch.save(network.state_dict(), path)
    return path


class Shell(torch.nn.Module):
    """Tensors under their names and nothing else, which TorchScript can write."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def archived(network: open_clip.CLIP, path: Path) -> Path:
    """A TorchScript archive as OpenAI's: matrices in 16 bits, and three numbers that are no weights."""
    root = Shell()
    for name, value in network.state_dict().items():
        place: torch.nn.Module = root
        *folders, last = name.split(".")
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, Shell())
            place = place.get_submodule(folder)
        place.register_buffer(last, value.half() if value.ndim > 1 else value)
    for number in module.OPENAI_NUMBERS:
        root.register_buffer(number, torch.tensor(1))
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.save(torch.jit.script(root), path)
    return path


def embeddings(clip: Clip, image: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return clip(clip.prepare(image)[None])[0]


@pytest.mark.parametrize("shape", [(32, 32, 3), (50, 81, 3), (90, 33, 3)])
def test_embeddings_are_open_clips_own(network: open_clip.CLIP, file: Path, shape: tuple[int, ...]) -> None:
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    clip = load(weights=file, protocol="paragone", variant="tiny-clip")
    assert clip.name == f"clip:tiny-clip@{file_digest(file)[:12]}"
    assert (clip.dim, clip.has_logits, clip.resize) == (16, False, "clip-shortest-bicubic-32")
    transform = open_clip.image_transform(32, is_train=False)
    with torch.inference_mode():
        expected = network.encode_image(transform(Image.fromarray(image))[None])
    assert torch.equal(embeddings(clip, image), expected)


def test_cmmd_cuts_the_middle_out_before_it_resizes(file: Path) -> None:
    image = RNG.integers(0, 256, (50, 81, 3), dtype=np.uint8)
    clip = load(weights=file, protocol="cmmd", variant="tiny-clip")
    middle = np.ascontiguousarray(image[:, 15:65])
    square = np.asarray(Image.fromarray(middle).resize((32, 32), Image.Resampling.BICUBIC)) / 255
    expected = (square - open_clip.OPENAI_DATASET_MEAN) / open_clip.OPENAI_DATASET_STD
    np.testing.assert_allclose(clip.prepare(image), expected.transpose(2, 0, 1), atol=1e-5)


def test_every_kind_of_file_gives_the_same(network: open_clip.CLIP, file: Path, tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "clip.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "epoch_3.pt")
    image = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    wanted = embeddings(load(weights=file, protocol="paragone", variant="tiny-clip"), image)
    for name in ("clip.safetensors", "epoch_3.pt"):
        clip = load(weights=tmp_path / name, protocol="paragone", variant="tiny-clip")
        assert torch.equal(embeddings(clip, image), wanted)


def test_the_activation_is_the_names_and_a_doubt_is_said(file: Path) -> None:
    image = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    plain = load(weights=file, protocol="paragone", variant="tiny-clip")
    quick = load(weights=file, protocol="paragone", variant="tiny-clip-quickgelu")
    assert (embeddings(plain, image) - embeddings(quick, image)).abs().max() > 1e-3
    assert plain.name != quick.name
    assert "need --features clip:tiny-clip-quickgelu" in plain.warnings[0]
    assert quick.warnings == ()


def test_openais_files_get_quickgelu_and_no_other_model(
    network: open_clip.CLIP, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    archive = archived(network, tmp_path / "archive.pt")
    known = replace(OPENAI_CLIP["ViT-B-32"], sha256=file_digest(archive), file_name=archive.name)
    monkeypatch.setattr(module, "OPENAI_CLIP", {"tiny-clip": known})
    clip = load(weights=archive, protocol="paragone", variant="tiny-clip")
    quick = load(weights=file, protocol="paragone", variant="tiny-clip-quickgelu")
    assert torch.equal(embeddings(clip, image), embeddings(quick, image))
    assert clip.warnings == ()
    assert clip.name == f"clip:tiny-clip@{file_digest(archive)[:12]}"
    assert load(weights=archive, protocol="paragone", variant="tiny-clip-quickgelu").name == clip.name
    with pytest.raises(InputError, match="is OpenAI's tiny-clip; use it with --features clip:tiny-clip"):
        load(weights=archive, protocol="paragone", variant="wide-clip")


def test_missing_unknown_and_foreign(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clip:ViT-L14: open_clip has no such model; did you mean .*ViT-L-14"):
        EXTRACTORS.load("clip:ViT-L14")(weights=None, protocol="paragone")
    with pytest.raises(UsageError, match="its text half is fetched from a hub"):
        load(weights=file, protocol="paragone", variant="roberta-ViT-B-32")
    with pytest.raises(UsageError, match="the extractor clip knows paragone, cmmd"):
        load(weights=file, protocol="edm2", variant="tiny-clip")
    with pytest.raises(MissingWeights, match=r"ViT-L-14\.pt \(size not recorded, sha256 b8cca3fd"):
        EXTRACTORS.load("clip")(weights=None, protocol="paragone")
    with pytest.raises(MissingWeights, match="clip:tiny-clip needs a file of weights, and none is named"):
        load(weights=None, protocol="paragone", variant="tiny-clip")
    with pytest.raises(InputError, match=r"clip\.pt: not the weights of CLIP wide-clip .*size mismatch"):
        load(weights=file, protocol="paragone", variant="wide-clip")


def test_openais_names_are_open_clips() -> None:
    assert set(OPENAI_CLIP) <= set(open_clip.list_models())
    assert {f"{model}-quickgelu" for model in OPENAI_CLIP} <= set(open_clip.list_models())


def test_preprocessing_is_that_of_the_published_weights(file: Path) -> None:
    network = load(weights=file, protocol="paragone", variant="tiny-clip").network
    squashed, nothing = module._preprocessing(network, "ViT-B-16-SigLIP", by_openai=False)
    assert (squashed.mean, squashed.std, squashed.resize_mode) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
    assert squashed.size == (32, 32)
    assert nothing == ()
    plain, notice = module._preprocessing(network, "ViT-L-14", by_openai=False)  # some were trained with means of 0.5
    assert plain.mean == open_clip.OPENAI_DATASET_MEAN
    assert "its published weights are preprocessed in 2 ways" in notice[0]
    assert module._preprocessing(network, "ViT-L-14", by_openai=True) == (plain, ())


# ---- Captions --------------------------------------------------------------------------------------------------------


def test_a_long_caption_keeps_its_end_and_is_counted(network: open_clip.CLIP, file: Path) -> None:
    clip = load(weights=file, protocol="paragone", variant="tiny-clip")
    fits = "one two three four five six seven eight nine ten"
    captions = ["a cat", fits, fits + " eleven", fits + " twelve"]
    found = embed_captions(clip, captions)
    assert found.cut == (2, 3)
    assert found.embeddings.shape == (4, 16)
    with torch.inference_mode():
        tokens = open_clip.SimpleTokenizer(context_length=12)(captions)
        assert tokens[2:, -1].tolist() == [49407, 49407]  # the end token, where the embedding is read off
        expected = network.encode_text(tokens)
    np.testing.assert_allclose(found.embeddings, expected, atol=1e-5)
    np.testing.assert_array_equal(found.embeddings[1], found.embeddings[2])  # what was cut is gone
    assert embed_captions(clip, ["cat"], prefix="A photo depicts ").cut == ()


def test_score_of_pictures_and_captions(network: open_clip.CLIP, file: Path, tmp_path: Path) -> None:
    captions = ["a cat", "two dogs under a tree that is very old and has lost its leaves", "nothing"]
    images = RNG.integers(0, 256, (3, 40, 32, 3), dtype=np.uint8)
    for number, image in zip((1, 2, 10), images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    report = clip_score_of_pictures(
        tmp_path, captions, model="tiny-clip", weights=file, variant="torchmetrics", options=ON_CPU
    )
    transform = open_clip.image_transform(32, is_train=False)
    with torch.inference_mode():
        seen = network.encode_image(torch.stack([transform(Image.fromarray(image)) for image in images]))
        read = network.encode_text(open_clip.SimpleTokenizer(context_length=12)(captions))
    expected = 100 * torch.cosine_similarity(seen, read).clamp(min=0)
    np.testing.assert_allclose(report.score.values, expected, atol=1e-3)
    assert report.cut == (1,)
    assert "1 of 3 captions are longer" in report.warnings[-1]
    assert report.extractor == f"clip:tiny-clip@{file_digest(file)[:12]}"
    with pytest.raises(InputError, match="3 pictures, but 2 captions"):
        clip_score_of_pictures(tmp_path, captions[:2], model="tiny-clip", weights=file)
    with pytest.raises(InputError, match="caption 2 is empty"):
        clip_score_of_pictures(tmp_path, ["a", " ", "b"], model="tiny-clip", weights=file)
